"""The annotation of published sentence corpora: as downloaded (tables with bars), and as the TwoStream repository republished it (gzipped pickles)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import CorpusError
from models.pickles import load_pickle

SPLITS = ("train", "dev", "test")
GZIP = b"\x1f\x8b"


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One annotated recording. num_frames: None where the annotation doesn't say it."""

    name: str
    split: str
    signer: str = ""
    gloss: str | None = None
    text: str | None = None
    num_frames: int | None = None


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column of a table holds what; None where it isn't there."""

    name: str
    gloss: str
    signer: str | None = None
    text: str | None = None


def read_table(path: Path, columns: Columns, split: str) -> list[Sentence]:
    """The sentences of a table of one split. Errors: CorpusError naming the file where it can't be read or lacks a column."""
    return [_sentence(row, columns, split) for row in bar_rows(path, [value for value in vars(columns).values() if value])]


def bar_rows(path: Path, required: Sequence[str]) -> Iterator[dict[str, str]]:
    """Rows of a text whose columns are separated by bars and named in its first line. Errors: CorpusError naming the file and the line."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: can't be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'})") from None
    header = lines[0].split("|") if lines else []
    missing = [column for column in required if column not in header]
    if missing:
        raise CorpusError(f"{path}: column {' and '.join(missing)} missing; its first line must name {'|'.join(required)}")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("|")
        if len(cells) == len(header):
            yield dict(zip(header, cells, strict=True))
        elif line.strip():
            raise CorpusError(f"{path}: line {number} has {len(cells)} columns, and the first line {len(header)}")


def read_pickled(path: Path, split: str) -> list[Sentence]:
    """The sentences of a gzipped pickle: a list of dicts (twostream.md, section 2.1). Errors: CorpusError naming the file where it holds something else."""
    entries = load_pickle(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries):
        raise CorpusError(f"{path}: a list of dicts with a name each is expected")
    return [_pickled_sentence(entry, split) for entry in entries]


def is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP


def _sentence(row: Mapping[str, str], columns: Columns, split: str) -> Sentence:
    return Sentence(
        name=row[columns.name],
        split=split,
        signer=row[columns.signer] if columns.signer else "",
        gloss=row[columns.gloss],
        text=row[columns.text] if columns.text else None,
    )


def _pickled_sentence(entry: Mapping[str, Any], split: str) -> Sentence:
    gloss, text, signer, count = (entry.get(key) for key in ("gloss", "text", "signer", "num_frames"))
    return Sentence(
        name=entry["name"],
        split=split,
        signer="" if signer is None else str(signer),
        gloss=None if gloss is None else str(gloss),
        text=None if text is None else str(text),
        num_frames=count if isinstance(count, int) else None,
    )
