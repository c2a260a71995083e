"""Writing shards: recordings to Parquet files under temporary names, then the folder as a whole."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from cluster.lease import leased
from cluster.spool import exclusive
from cluster.storage import Location, Place, file_size
from models.errors import ShardError
from models.pose import PoseEstimator
from workloads.corpora.corpus import Part, Rejection, file_digest
from workloads.corpora.recording import Recording
from workloads.frame_encoding import FrameOptions
from workloads.recording_rows import Loaded, load, num_bytes, row
from workloads.shards import CORPUS_FILE, ROW_GROUP_ROWS, SCHEMA, CorpusFile, ShardFile, file_metadata
from workloads.validation import ClipFacts, clip_facts

STAGING, LOCK = ".writing", "lock"
LEASE = ".writer"  # the lock, in a store: the staging folder comes only after it
REJECTED_FILE = "rejected.jsonl"
REPORT_FILE = "report.json"
RUN_FILE = "run.json"  # what the staging folder's parts are made of
ROWS_PER_SHARD = 128
SHARD_BYTES = 64 << 20  # of keypoints and pictures: fewer rows where these are large
ROW_GROUP_BYTES = 8 << 20

# On real keypoints: a quarter smaller than plain, at over 300 MB/s written and 600 MB/s read; zstd alone saved 15 %, higher levels nothing more.
PARQUET_OPTIONS: Mapping[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": ["split", "signer", "extractor"],
    "column_encoding": {"keypoints.list.element": "BYTE_STREAM_SPLIT"},
}


@dataclass(frozen=True, kw_only=True)
class PartSummary:
    """What one part became: staged files in order, facts of the recordings in them, recordings that were not taken."""

    split: str
    files: tuple[tuple[str, ShardFile], ...]
    clips: tuple[ClipFacts, ...]
    rejections: tuple[Rejection, ...]


_SUMMARY = TypeAdapter(PartSummary)


def write_part(
    part: Part, number: int, staging: Location, num_keypoints: int, frames: FrameOptions | None = None, pose: PoseEstimator | None = None
) -> PartSummary:
    """Write a part's recordings to `staging`, unless an earlier run finished it; the bytes depend on the part alone, not on who writes it or when."""
    note = staging / f"{number:05d}.json"
    finished = _finished_part(note)
    if finished is not None:
        return finished
    clips: list[ClipFacts] = []
    rejections: list[Rejection] = []
    rows = _accepted_rows(part, partial(load, num_keypoints=num_keypoints, frames=frames, pose=pose), clips, rejections)
    files: list[tuple[str, ShardFile]] = []
    while block := _row_group(rows, ROW_GROUP_ROWS):
        name = f"{number:05d}-{len(files):05d}.parquet"
        with write_errors(staging / name):
            files.append((name, _write_shard(staging / name, block, rows, num_keypoints)))
    summary = PartSummary(split=part.split, files=tuple(files), clips=tuple(clips), rejections=tuple(rejections))
    with write_errors(note):
        write_text(note, _SUMMARY.dump_json(summary).decode())
    return summary


def _finished_part(note: Location) -> PartSummary | None:
    """The summary of a part whose files are all there."""
    try:
        summary = _SUMMARY.validate_json(note.read_bytes())
        whole = all(file_size(note.parent / name) == file.bytes for name, file in summary.files)
    except ConnectionError as error:
        raise ShardError(str(error)) from None
    except (OSError, ValueError):
        return None
    return summary if whole else None


def _accepted_rows(
    part: Part, read: Callable[[Recording], Loaded | Rejection], clips: list[ClipFacts], rejections: list[Rejection]
) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for entry in part.read():
        if isinstance(entry, Recording) and entry.name in seen:
            entry = Rejection(name=entry.name, split=entry.split, reason="duplicate name: an earlier recording of the split has it and is kept")
        taken = entry if isinstance(entry, Rejection) else read(entry)
        if isinstance(taken, Rejection):
            rejections.append(taken)
            continue
        seen.add(taken.recording.name)
        clips.append(clip_facts(taken.recording, taken.num_frames, has_pictures=taken.pictures is not None))
        yield row(taken)


def _row_group(rows: Iterator[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Up to `count` rows, fewer where they are large: a reader holds a row group."""
    group: list[dict[str, Any]] = []
    size = 0
    while len(group) < count and size < ROW_GROUP_BYTES:
        entry = next(rows, None)
        if entry is None:
            break
        group.append(entry)
        size += num_bytes(entry)
    return group


def _write_shard(path: Location, block: list[dict[str, Any]], rows: Iterator[dict[str, Any]], num_keypoints: int) -> ShardFile:
    """Write `block` and what follows it in `rows`, up to a shard's size, one row group at a time; for a store on this disk first."""
    if isinstance(path, Place):
        with tempfile.TemporaryDirectory(prefix="shard-") as folder:
            file = _write_shard(Path(folder) / path.name, block, rows, num_keypoints)
            path.put(Path(folder) / path.name)
            return file
    schema = SCHEMA.with_metadata(file_metadata(num_keypoints))
    written = size = 0
    with ExitStack() as stack:
        writer = stack.enter_context(pq.ParquetWriter(path, schema, **PARQUET_OPTIONS))
        while block:
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
            written += len(block)
            size += sum(map(num_bytes, block))
            block = _row_group(rows, min(ROW_GROUP_ROWS, ROWS_PER_SHARD - written)) if size < SHARD_BYTES else []
    _sync(path)
    return ShardFile(recordings=written, bytes=path.stat().st_size, sha256=file_digest(path))


@contextmanager
def write_errors(path: Location) -> Iterator[None]:
    """Turns a full disk, a missing permission or a store that stays away into a ShardError that names `path`."""
    try:
        yield
    except ConnectionError as error:
        raise ShardError(str(error)) from None
    except OSError as error:
        raise ShardError(f"{path}: can't be written ({error.strerror or error}): make room or choose another --out") from None


@contextmanager
def alone(out: Location) -> Iterator[None]:
    """Hold `out` for writing. Raises ShardError while another process writes it: of this host, of any in a store."""
    with ExitStack() as held:
        with write_errors(out):
            try:
                held.enter_context(leased(out / LEASE) if isinstance(out, Place) else exclusive(out.resolve() / STAGING / LOCK, wait=False))
            except BlockingIOError as error:
                by = str(error) if isinstance(out, Place) else "another process"
                raise ShardError(f"{out} is being written by {by}: wait for its end, or choose another --out") from None
        yield


def clear(out: Location, record: Mapping[str, Any] | None = None) -> Location:
    """Take back what an earlier run left and return the staging folder, with the finished parts of a killed run that made the same (`record`).

    The staging folder comes first, for it marks `out` as ours; then `corpus.json` goes, so that no reader accepts what is no longer whole.
    """
    staging = out.resolve() / STAGING
    staging.mkdir(parents=True, exist_ok=True)
    for name in (CORPUS_FILE, REPORT_FILE, REJECTED_FILE):
        (out / name).unlink(missing_ok=True)
    for name in _names(out, "*/part-*.parquet"):
        (out / name).unlink(missing_ok=True)
    made = json.dumps(record, sort_keys=True)
    note = staging / RUN_FILE
    if record is None or not note.exists() or note.read_text(encoding="utf-8") != made:
        for name in (*_names(staging, "*.parquet"), *_names(staging, "*.json")):  # the lock stays
            (staging / name).unlink(missing_ok=True)
        write_text(note, made)
    return staging


def _names(folder: Location, pattern: str) -> list[str]:
    """What lies in a folder, by a pattern of `pathlib`; relative to it."""
    if isinstance(folder, Place):
        return [name for name in folder.sizes() if name.count("/") == pattern.count("/") and PurePosixPath(name).match(pattern)]
    return [path.relative_to(folder).as_posix() for path in folder.glob(pattern)]


def place_shards(out: Location, summaries: Sequence[PartSummary]) -> dict[str, ShardFile]:
    """Move the staged files to their places, numbered within their split in the order of the parts; returns path in `out` → file."""
    placed: dict[str, ShardFile] = {}
    numbers: dict[str, int] = {}
    for summary in summaries:
        for name, file in summary.files:
            number = numbers[summary.split] = numbers.get(summary.split, -1) + 1
            target = out / summary.split / f"part-{number:05d}.parquet"
            target.parent.mkdir(exist_ok=True)
            _move(out / STAGING / name, target)
            placed[f"{summary.split}/{target.name}"] = file
    return placed


def _move(source: Location, target: Location) -> None:
    if isinstance(source, Place) and isinstance(target, Place):
        source.move(target)
    else:
        os.replace(str(source), str(target))


def finish(out: Location, corpus: CorpusFile) -> None:
    """Write `corpus.json`, which makes the folder a shard set; the staging folder marks an unfinished one and goes last."""
    write_json(out / CORPUS_FILE, corpus)
    staging = out / STAGING
    if isinstance(staging, Place):
        staging.remove()
    else:
        shutil.rmtree(staging)


def write_rejections(out: Location, rejections: Sequence[Rejection]) -> None:
    write_text(out / REJECTED_FILE, "".join(json.dumps(dataclasses.asdict(rejection), ensure_ascii=False) + "\n" for rejection in rejections))


def write_json(path: Location, record: CorpusFile | Mapping[str, Any]) -> None:
    value = record.model_dump(mode="json") if isinstance(record, CorpusFile) else record
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def write_text(path: Location, text: str) -> None:
    """Write a file as a whole or not at all."""
    if isinstance(path, Place):
        path.write_text(text)
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    _sync(partial)
    os.replace(partial, path)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
