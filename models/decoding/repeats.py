"""Merging of adjacent equal items, which the published systems do once more after CTC decoding, and when they clean glosses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TypeVar

Item = TypeVar("Item")


def merge_repeats(items: Iterable[Item]) -> tuple[Item, ...]:
    """`items` with runs of equal ones written once: a gloss that is really signed twice in a row is lost (mska.md, section 6)."""
    return tuple(item for item, _ in groupby(items))
