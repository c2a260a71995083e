"""The user's own recordings, listed in a table: CSV, TSV, JSON lines or Parquet.

Columns: name, path (a video, a folder of pictures or a keypoint file, relative to the manifest), keypoints (the keypoint file of a video or folder), and
as far as known split, signer, gloss (blank-separated) or label (of an isolated sign, taken as it is written), text, fps, width, height. Only name and path
must be there. A recording without a split goes to `test`: nothing is trained on unless its row says so. What a row says of fps and frame size goes before
what the files say; width and height are those of the keypoints' frame.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from models.errors import CorpusError
from models.media import KEYPOINT_READERS, VIDEO_SUFFIXES, read_frames
from workloads.corpora.corpus import Corpus, Part, Rejection, file_digest, text_digest
from workloads.corpora.recording import Recording

REQUIRED = ("name", "path")
COLUMNS = (*REQUIRED, "keypoints", "split", "signer", "gloss", "label", "text", "fps", "width", "height")
DEFAULT_SPLIT = "test"
SPLIT_NAME = re.compile(r"\w[\w-]{,63}")  # it becomes a folder's name
BEYOND = "cells beyond the header"
ROWS_PER_PART = 128


def read_manifest(source: Path | None, options: Mapping[str, str]) -> Corpus:
    """The corpus that the table `source` lists. Errors: CorpusError where the table is missing, unreadable, empty or lacks a required column."""
    if options:
        raise CorpusError(f"corpus manifest has no options, and {', '.join(options)} was set")
    if source is None:
        raise CorpusError(f"corpus manifest needs --source: a table ({', '.join(TABLE_READERS)}) with the columns name and path")
    rows = _rows(source)
    columns = {column for row in rows for column in row}
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        raise CorpusError(f"{source}: column {' and '.join(missing)} missing; a manifest needs name and path, and may have {', '.join(COLUMNS[2:])}")
    recordings, rejections = _listed(rows, source)
    return Corpus(
        name="manifest",
        licence="the user's own recordings: as their owner says",
        lower_case=False,
        fingerprint=text_digest(" ".join([file_digest(source), *(_stamp(recording) for recording in recordings)])),
        parts=tuple(_parts(recordings)),
        rejections=tuple(rejections),
        notes=tuple(_notes(source, rows, columns)),
    )


def _notes(source: Path, rows: Sequence[Mapping[str, Any]], columns: set[str]) -> Iterator[str]:
    unknown = sorted(columns - {*COLUMNS, BEYOND})
    if unknown:
        yield f"{source}: unknown columns are not read: {', '.join(unknown)}"
    without = sum(not row.get("split") for row in rows)
    if without:
        yield f"{source}: {without} recordings name no split and go to {DEFAULT_SPLIT}; training needs rows with split train and dev"


def _rows(source: Path) -> list[dict[str, Any]]:
    reader = TABLE_READERS.get(source.suffix.lower())
    if reader is None:
        raise CorpusError(f"{source}: not a manifest: the kinds are {', '.join(TABLE_READERS)}")
    try:
        rows = reader(source)
    except OSError as error:
        raise CorpusError(f"{source}: can't be read ({error.strerror or error})") from None
    except (ValueError, csv.Error, pyarrow.ArrowInvalid) as error:
        raise CorpusError(f"{source}: not a readable table ({' '.join(str(error).split())[:120]})") from None
    if not rows:
        raise CorpusError(f"{source}: lists no recording; a manifest needs the columns name and path and a row per recording")
    return rows


def _delimited_rows(source: Path, delimiter: str) -> list[dict[str, Any]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restkey=BEYOND, restval="")
        header = reader.fieldnames or []
        twice = [column for column in header if header.count(column) > 1]
        if twice:
            raise ValueError(f"column {twice[0]!r} is there twice")
        return list(reader)


def _json_rows(source: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in source.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except RecursionError:
        raise ValueError("lists within lists, too deep") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("each line must be an object")
    return rows


def _parquet_rows(source: Path) -> list[dict[str, Any]]:
    return pyarrow.parquet.read_table(source).to_pylist()  # type: ignore[no-any-return]


TABLE_READERS: dict[str, Callable[[Path], list[dict[str, Any]]]] = {
    ".csv": partial(_delimited_rows, delimiter=","),
    ".tsv": partial(_delimited_rows, delimiter="\t"),
    ".jsonl": _json_rows,
    ".parquet": _parquet_rows,
}


def _listed(rows: list[dict[str, Any]], source: Path) -> tuple[list[Recording], list[Rejection]]:
    recordings, rejections, seen = [], [], set()
    for number, row in enumerate(rows, start=1):
        name, split = _text(row, "name") or "", _text(row, "split") or DEFAULT_SPLIT
        try:
            if not name:
                raise ValueError(f"no name: row {number} of the manifest")
            if row.get(BEYOND):
                raise ValueError(f"more cells than the header has: row {number} of the manifest; quote a value that holds the delimiter")
            if not SPLIT_NAME.fullmatch(split):
                raise ValueError(f"wrong split: {split!r}; letters, digits, '_' and '-' are allowed, 64 at most")
            if (split, name) in seen:
                raise ValueError(f"duplicate name: row {number} repeats it, the first one is kept")
            recordings.append(_recording(row, name, split, source.parent))
            seen.add((split, name))
        except ValueError as error:
            rejections.append(Rejection(name=name, split=split, reason=str(error)))
    return recordings, rejections


def _recording(row: dict[str, Any], name: str, split: str, folder: Path) -> Recording:
    """The recording of one row; ValueError with the reason where it can't be used."""
    gloss = row.get("gloss")
    width, height = _number(row, "width"), _number(row, "height")
    film, points = _files(folder, _text(row, "path"), _text(row, "keypoints"))
    return Recording(
        name=name,
        split=split,
        signer=_text(row, "signer") or "",
        path=points,
        filmed=None if film is None else partial(read_frames, film),
        glosses=tuple(" ".join(map(str, gloss)).split() if isinstance(gloss, list) else (_text(row, "gloss") or "").split()) or None,
        label=_text(row, "label"),
        text=_text(row, "text"),
        fps=_number(row, "fps"),
        width=None if width is None else round(width),
        height=None if height is None else round(height),
    )


def _files(folder: Path, path: str | None, keypoints: str | None) -> tuple[Path | None, Path | None]:
    """The video or folder of pictures, and the keypoint file, of a row; absolute, for they are read in other processes."""
    if path is None:
        raise ValueError("no path: the row names no file")
    first = _existing(folder / path)
    if first.is_dir() or first.suffix.lower() in VIDEO_SUFFIXES:
        return first, None if keypoints is None else _keypoint_file(folder / keypoints)
    if keypoints is not None:
        raise ValueError(f"keypoints twice: path must be a video or a folder of pictures where the row names a keypoint file, and {first} is neither")
    return None, _keypoint_file(first)


def _keypoint_file(path: Path) -> Path:
    if path.suffix.lower() not in KEYPOINT_READERS:
        kinds = f"keypoint file ({', '.join(KEYPOINT_READERS)})"
        raise ValueError(f"unknown kind: {path} is no video ({', '.join(sorted(VIDEO_SUFFIXES))}), folder of pictures or {kinds}")
    return _existing(path)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"missing file: {path}")
    return path.resolve()


def _text(row: dict[str, Any], column: str) -> str | None:
    value = row.get(column)
    if value is None or value != value:  # NaN stands for an empty cell in tables that pandas wrote
        return None
    return str(value).strip() or None


def _number(row: dict[str, Any], column: str) -> float | None:
    text = _text(row, column)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"wrong {column}: {text!r} is not a number above zero")
    return number


def _parts(recordings: list[Recording]) -> Iterator[Part]:
    for split in dict.fromkeys(recording.split for recording in recordings):
        members = [recording for recording in recordings if recording.split == split]
        for start in range(0, len(members), ROWS_PER_PART):
            block = tuple(members[start : start + ROWS_PER_PART])
            yield Part(split=split, read=partial(iter, block), num_bytes=sum(_num_bytes(recording) for recording in block), num_recordings=len(block))


def _num_bytes(recording: Recording) -> int:
    return sum(_size(path) for path in _paths(recording))


def _paths(recording: Recording) -> Iterator[Path]:
    if recording.path is not None:
        yield recording.path
    if isinstance(recording.filmed, partial):
        yield recording.filmed.args[0]


def _size(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir() if entry.is_file()) if path.is_dir() else path.stat().st_size


def _stamp(recording: Recording) -> str:
    return f"{recording.name}:{_num_bytes(recording)}"
