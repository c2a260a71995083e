"""Places in an S3-compatible store, `s3://bucket/prefix`, used like the paths of a shared folder.

A `Place` has the methods of `pathlib.Path` that this project uses, so that the same code reads and writes both. What it writes is there whole or not
at all, and its size is verified; *folders* are never whole by themselves: each kind (checkpoint, bundle, shard set) has a file that names the others with
their sizes and checksums, and that one is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.store_access import NotWholeError, endpoint, filesystem, no_bucket, patiently

SCHEME = "s3://"
CHUNK = 16 << 20
TRANSFERS = 4  # at once, of the files of a folder


@dataclass(frozen=True)
class Place:
    """A key, or all keys below it, of a bucket; `key` is `bucket/prefix`. It holds neither endpoint nor credentials: each process has its own."""

    key: str

    def __str__(self) -> str:
        return SCHEME + self.key

    def __truediv__(self, name: str) -> Place:
        return Place(f"{self.key}/{name}".rstrip("/"))

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> Place:
        return Place(self.key.rpartition("/")[0] or self.key)

    @property
    def bucket(self) -> str:
        return self.key.partition("/")[0]

    def resolve(self) -> Place:
        return self

    def is_file(self) -> bool:
        return self.size() is not None

    def is_dir(self) -> bool:
        """Whether any object lies below; pyarrow leaves a marker where the last one was deleted, which is none."""
        return bool(self.sizes())

    def exists(self) -> bool:
        return self.is_file() or self.is_dir()

    def size(self) -> int | None:
        """Bytes of the object; None where there is none."""
        info = patiently(self._info, str(self))
        return int(info.size) if info.is_file else None

    def changed(self) -> float | None:
        """When the object was written, in seconds since the epoch by the store's clock; None where there is none."""
        info = patiently(self._info, str(self))
        return float(info.mtime.timestamp()) if info.is_file and info.mtime else None

    def sizes(self) -> dict[str, int]:
        """Every object below: path relative to here → bytes; sorted."""
        from pyarrow.fs import FileSelector

        infos = patiently(lambda: self._fs().get_file_info(FileSelector(self.key, recursive=True, allow_not_found=True)), str(self))
        if not infos:
            self._require_bucket()
        return dict(sorted((info.path[len(self.key) + 1 :], int(info.size)) for info in infos if info.is_file))

    def iterdir(self) -> Iterator[Place]:
        """What lies directly below, objects and prefixes."""
        from pyarrow.fs import FileSelector

        infos = patiently(lambda: self._fs().get_file_info(FileSelector(self.key, allow_not_found=True)), str(self))
        yield from (self / name for name in sorted(info.base_name for info in infos))

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: a prefix is there as soon as something lies below."""

    def read_bytes(self) -> bytes:
        """Raises FileNotFoundError where there is no such object."""

        def read() -> bytes:
            with self._fs().open_input_stream(self.key) as stream:
                return bytes(stream.read())

        try:
            return patiently(read, str(self))
        except FileNotFoundError:
            self._require_bucket()
            raise

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> int:
        def write() -> None:
            with self._fs().open_output_stream(self.key) as stream:
                stream.write(content)
            self._require(len(content))

        patiently(write, str(self))
        return len(content)

    def write_text(self, text: str, encoding: str = "utf-8") -> int:
        return self.write_bytes(text.encode(encoding))

    @contextmanager
    def open(self, mode: Literal["rb"] = "rb") -> Iterator[Any]:
        """The object as a file to read and to seek in; whoever reads wraps it in `patiently`."""
        with patiently(lambda: self._fs().open_input_file(self.key), str(self)) as stream:
            yield stream

    def unlink(self, missing_ok: bool = False) -> None:
        try:
            patiently(lambda: self._fs().delete_file(self.key), str(self))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def put(self, file: Path) -> str:
        """Upload a file of this machine; returns its SHA-256."""

        def upload() -> str:
            digest, count = hashlib.sha256(), 0
            with file.open("rb") as source, self._fs().open_output_stream(self.key) as stream:
                while block := source.read(CHUNK):
                    stream.write(block)
                    digest.update(block)
                    count += len(block)
            self._require(count)  # an upload that was cut has passed for a whole one
            return digest.hexdigest()

        return patiently(upload, str(self))

    def get(self, file: Path) -> None:
        """Download into a file of this machine, which appears when it is whole. Raises FileNotFoundError where there is no such object."""
        partial = file.with_name(f".{file.name}.partial")

        def download() -> None:
            with self._fs().open_input_stream(self.key) as stream, partial.open("wb") as target:
                shutil.copyfileobj(stream, target, CHUNK)
            self._require(partial.stat().st_size)

        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            patiently(download, str(self))
            os.replace(partial, file)
        finally:
            partial.unlink(missing_ok=True)

    def move(self, target: Place) -> None:
        """Give an object another name; the store copies it by itself."""
        size = self.size()

        def copy() -> None:
            self._fs().copy_file(self.key, target.key)
            target._require(size or 0)

        patiently(copy, str(self))
        self.unlink(missing_ok=True)

    def remove(self, *, first: Sequence[str] = ()) -> None:
        """Delete everything below, what `first` names before the rest: without its manifest a folder counts for nothing."""
        names = self.sizes()
        for name in [*(name for name in first if name in names), *(name for name in names if name not in first)]:
            (self / name).unlink(missing_ok=True)

    def _fs(self) -> Any:
        return filesystem(self.bucket)

    def _info(self) -> Any:
        return self._fs().get_file_info(self.key)

    def _require_bucket(self) -> None:
        """Raises ConnectionError where there is none: pyarrow says of what lies in one only that it isn't found."""
        if patiently(lambda: self._fs().get_file_info(self.bucket).type.name, str(self)) == "NotFound":
            raise no_bucket(str(self))

    def _require(self, size: int) -> None:
        found = self._info()
        if not found.is_file or found.size != size:
            raise NotWholeError(f"{self}: {found.size if found.is_file else 'no'} bytes lie there instead of {size}")


Location = Path | Place


def is_uri(name: object) -> bool:
    """Whether a user named a place in a store. pathlib folds the two slashes into one: that form is understood, too."""
    return str(name).startswith(("s3:/", "S3:/"))


def location(name: str | Path | Place) -> Location:
    """What a user named: a place in a store for `s3://bucket/prefix`, else a path.

    Raises ValueError, which doesn't repeat them, for credentials or an endpoint in the URI: they belong into the environment.
    """
    if isinstance(name, Place):
        return name
    text = str(name)
    if not is_uri(text):
        scheme, separator, _ = text.partition("://")
        if separator and scheme.isalnum():
            raise ValueError(f"{scheme}://: signray reads folders and {SCHEME}BUCKET/PREFIX; an S3-compatible store of your own is named by AWS_ENDPOINT_URL")
        return Path(name)
    key = text[3:].strip("/")
    if "@" in key.partition("/")[0] or "?" in key:
        raise ValueError(f"{SCHEME}…: no credentials and no options in a URI: set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL instead")
    if not key.partition("/")[0]:
        raise ValueError(f"{text}: names no bucket; {SCHEME}BUCKET/PREFIX is expected")
    return Place("/".join(part for part in key.split("/") if part))


def file_size(file: Location) -> int | None:
    """Bytes of a file; None where there is none."""
    if isinstance(file, Place):
        return file.size()
    return file.stat().st_size if file.is_file() else None


def work_folder(place: Place) -> Path:
    """Where this machine keeps its copy of a place: below SIGNRAY_WORK, else ~/.cache/signray."""
    root = Path(os.environ.get("SIGNRAY_WORK") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "signray")
    store = endpoint().rpartition("@")[2].rpartition("//")[2].strip("/").replace("/", "_").replace(":", "_") or "s3"
    return root.resolve() / store / place.key


def publish_folder(folder: Path, place: Place, *, last: str) -> None:
    """Upload a folder, the file `last` after all others: until then, and while an older one is replaced, there is none for a reader."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert last in names
    (place / last).unlink(missing_ok=True)
    _all_at_once(lambda name: (place / name).put(folder / name), [name for name in names if name != last])
    for name in place.sizes().keys() - set(names):
        (place / name).unlink(missing_ok=True)
    (place / last).put(folder / last)


def fetched_folder(place: Place, *, last: str) -> Path:
    """This machine's copy of a folder that `publish_folder` wrote, downloaded where the store's is another one.

    Raises FileNotFoundError where there is none, or it is replaced again and again meanwhile, LookupError where a file isn't what `last` says of it.
    """
    for _ in range(3):
        try:
            record = (place / last).read_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"{place}: no {last} there: give what a training published; a folder that is still being written has none yet") from None
        copy = work_folder(place) / hashlib.sha256(record).hexdigest()[:16]
        if (copy / last).is_file():
            return copy
        with suppress(FileNotFoundError):  # it is being replaced: look again
            _download(place, copy, record, last)
            return copy
    raise FileNotFoundError(f"{place} is being replaced: try again")


def _download(place: Place, folder: Path, record: bytes, last: str) -> None:
    """Everything below a place as `folder`, which appears when all is there, unless something else was published meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder.parent) as temporary:
        staging = Path(temporary) / "folder"
        staging.mkdir()
        _all_at_once(lambda name: (place / name).get(staging / name), list(place.sizes()))
        if (place / last).read_bytes() != record:
            raise FileNotFoundError(f"{place} was replaced while it was read")
        for name, digest in _digests(record).items():
            if not (staging / name).is_file() or _sha256(staging / name) != digest:
                raise LookupError(f"{place / name} isn't what {last} says of it: the copy there is damaged; publish it again")
        try:
            os.rename(staging, folder)
        except OSError:
            if not folder.is_dir():  # else another process was quicker
                raise


def _digests(record: bytes) -> dict[str, str]:
    """The checksums that a folder's record gives, as those of bundles and shards do: `files: {name: {sha256: ...}}`."""
    with suppress(ValueError, AttributeError, KeyError, TypeError):
        return {str(name): str(entry["sha256"]) for name, entry in json.loads(record)["files"].items()}
    return {}


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _all_at_once(transfer: Any, names: Sequence[str]) -> None:
    with ThreadPoolExecutor(max_workers=TRANSFERS, thread_name_prefix="storage") as pool:
        for _ in pool.map(transfer, names):
            pass
