"""The files of shards, on a disk or in a store: opened, read in pieces, handed to Ray Data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.storage import Location, Place, location
from cluster.store_access import filesystem, patiently
from models.errors import ShardError

AGAIN = "run preprocess again"

T = TypeVar("T")


def shard_location(path: str | Location) -> Location:
    """Where shards lie. Raises ShardError for a URI that names no place."""
    try:
        return location(path)
    except ValueError as error:
        raise ShardError(f"shards: {error}") from None


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns a store that refuses, or stays away, into a ShardError."""
    try:
        yield
    except ConnectionError as error:
        raise ShardError(str(error)) from None


@contextmanager
def shard_errors(file: Location) -> Iterator[None]:
    """Turns a failure to read `file` into a ShardError that names it."""
    try:
        with store_errors():
            yield
    except (pa.ArrowException, OSError) as error:
        raise ShardError(f"{file}: truncated or damaged ({' '.join(str(error).split())[:100]}); {AGAIN} with --force") from None


@contextmanager
def open_shard(file: Location) -> Iterator[pq.ParquetFile]:
    """A shard to read from. Errors: ShardError where it can't be read."""
    in_store = isinstance(file, Place)
    # What a row group's columns need is fetched from a store in few requests, not in one for each column.
    with (
        shard_errors(file),
        file.open("rb") if in_store else nullcontext(file) as source,
        retried(file, lambda: pq.ParquetFile(source, pre_buffer=in_store)) as parquet,
    ):
        yield parquet


def retried(file: Location, read: Callable[[], T]) -> T:
    """What `read` reads of a shard; one in a store is asked again while that is away."""
    return patiently(read, str(file)) if isinstance(file, Place) else read()


def for_ray(files: Sequence[Location]) -> tuple[list[str], Any]:
    """Paths and file system by which Ray Data reads shards; the file system is None for those on a disk."""
    places = [file for file in files if isinstance(file, Place)]
    if not places:
        return [str(file) for file in files], None
    return [place.key for place in places], filesystem(places[0].bucket, patient=True)


def digest(file: Location) -> str:
    """SHA-256 of a shard's bytes."""

    def read() -> str:
        with file.open("rb") as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            return digest.hexdigest()

    return retried(file, read)


def row_group(file: Location, parquet: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
    return retried(file, lambda: parquet.read_row_group(number, columns=columns, use_threads=False))
