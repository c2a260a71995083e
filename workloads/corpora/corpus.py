"""What a corpus reader returns: the corpus's facts and its parts, each of which one task can read by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from workloads.corpora.recording import Recording


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """A recording that was not taken, and why (`kind: detail`, one line)."""

    name: str
    split: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of one split. `read` yields its recordings in the corpus's order and travels to other processes by pickle.

    num_bytes: about how many bytes of keypoints, or of videos, it holds. num_recordings: how many it lists; None where only reading tells.
    """

    split: str
    read: Callable[[], Iterator[Recording | Rejection]]
    num_bytes: int = 0
    num_recordings: int | None = None


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus as its reader finds it.

    licence: what may be done with the data, for the shards and every bundle trained on them. lower_case: whether its glosses are looked up in lower case.
    vocabulary: the gloss vocabulary that came with the corpus, or None. num_keypoints: points per frame. fingerprint: changes when the source does.
    classes: names of an isolated corpus's classes by published class id, or None where they are to be built from train; classes_source: where from.
    rejections: recordings that the listing alone shows to be unusable. notes: remarks for the user.
    """

    name: str
    licence: str
    lower_case: bool
    fingerprint: str
    parts: tuple[Part, ...]
    vocabulary: Path | None = None
    num_keypoints: int = 133
    classes: tuple[str, ...] | None = None
    classes_source: str = ""
    rejections: tuple[Rejection, ...] = ()
    notes: tuple[str, ...] = ()

    def recordings(self) -> Iterator[Recording | Rejection]:
        """All recordings of all splits, one at a time."""
        yield from self.rejections
        for part in self.parts:
            yield from part.read()


def limited(corpus: Corpus, limit: int | None) -> Corpus:
    """The corpus with the first `limit` recordings of each split only; None leaves it whole."""
    if limit is None:
        return corpus
    parts, left = [], {part.split: limit for part in corpus.parts}
    for part in corpus.parts:
        count = min(left[part.split], limit if part.num_recordings is None else part.num_recordings)
        left[part.split] -= count
        if count:
            num_bytes = round(part.num_bytes * count / (part.num_recordings or count))
            parts.append(replace(part, read=partial(_first, part.read, count), num_bytes=num_bytes, num_recordings=part.num_recordings and count))
    return replace(corpus, parts=tuple(parts))


def _first(read: Callable[[], Iterator[Recording | Rejection]], count: int) -> Iterator[Recording | Rejection]:
    return islice(read(), count)


Reader = Callable[[Path | None, Mapping[str, str]], Corpus]  # source folder or file, and the corpus's own options


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
