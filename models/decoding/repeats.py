"""Merging of adjacent equal ids, which the published systems do once more after CTC decoding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby


def merge_repeats(ids: Sequence[int]) -> tuple[int, ...]:
    """`ids` with runs of equal ones written once: a gloss that is really signed twice in a row is lost (mska.md, section 6)."""
    return tuple(gloss for gloss, _ in groupby(ids))
