"""Slow, literal forms of what models/decoding does quickly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

IMPOSSIBLE = -math.inf


def log_softmax(logits: NDArray) -> NDArray[np.float64]:
    if not logits.size:
        return logits.astype(np.float64)
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    logp: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return logp


@dataclass
class Probabilities:
    total: float = IMPOSSIBLE
    blank: float = IMPOSSIBLE
    label: float = IMPOSSIBLE


@dataclass(eq=False)
class Entry:
    """A prefix of the trie as mska.md, section 6 has it."""

    parent: Entry | None
    label: int
    children: dict[int, Entry] = field(default_factory=dict)
    old: Probabilities = field(default_factory=Probabilities)
    new: Probabilities = field(default_factory=Probabilities)

    def child(self, label: int) -> Entry:
        return self.children.setdefault(label, Entry(self, label))

    def ids(self) -> tuple[int, ...]:
        return () if self.parent is None else (*self.parent.ids(), self.label)


def tf_search(logits_SV: NDArray, beam_width: int, blank: int = 0, *, wipes: bool = True) -> tuple[tuple[int, ...], float]:
    """TensorFlow's beam search step by step as written in mska.md, section 6; without `wipes` a textbook prefix search."""
    root = Entry(None, -1, new=Probabilities(0.0, 0.0, IMPOSSIBLE))
    leaves = [root]
    for logp in log_softmax(logits_SV):
        branches = sorted(leaves, key=lambda entry: -entry.new.total)
        for b in branches:
            b.old = Probabilities(b.new.total, b.new.blank, b.new.label)
        leaves = []
        for b in branches:
            if b.parent is not None:
                if b.parent.new.total != IMPOSSIBLE:
                    gained = b.parent.old.blank if b.label == b.parent.label else b.parent.old.total
                    b.new.label = float(np.logaddexp(b.new.label, gained))
                b.new.label += logp[b.label]
            b.new.blank = b.old.total + logp[blank]
            b.new.total = float(np.logaddexp(b.new.blank, b.new.label))
            leaves.append(b)
        for b in branches:
            if b.old.total == IMPOSSIBLE:
                continue
            if len(leaves) == beam_width and b.old.total <= min(entry.new.total for entry in leaves):
                continue
            for label in (label for label in range(len(logp)) if label != blank):
                child = b.child(label)
                if child.new.total != IMPOSSIBLE:
                    continue
                label_score = float(logp[label]) + (b.old.blank if label == b.label else b.old.total)
                child.new = Probabilities(label_score, IMPOSSIBLE, label_score)
                lowest = min(leaves, key=lambda entry: entry.new.total)
                if len(leaves) < beam_width or label_score > lowest.new.total:
                    if len(leaves) == beam_width:
                        lowest.new = Probabilities()
                        leaves.remove(lowest)
                    leaves.append(child)
                else:  # "deactivate" takes the old ones too: a leaf pushed out before its turn is not extended any more
                    child.new = Probabilities()
                    child.old = Probabilities() if wipes else child.old
    best = max(leaves, key=lambda entry: entry.new.total)
    return best.ids(), best.new.total


def collapse(path: Iterable[int], blank: int = 0) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def best_labelling(logits_SV: NDArray) -> tuple[tuple[int, ...], float]:
    """The likeliest label sequence, by enumeration of every path."""
    logp = log_softmax(logits_SV)
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(logp.shape[1]), repeat=len(logp)):
        ids = collapse(path)
        totals[ids] = float(np.logaddexp(totals.get(ids, IMPOSSIBLE), logp[range(len(logp)), path].sum()))
    best = max(totals, key=lambda ids: totals[ids])
    return best, totals[best]


def likeliest_path(logp_SV: NDArray[np.float64], ids: tuple[int, ...]) -> tuple[int, ...] | None:
    """The likeliest path that collapses to `ids`, by enumeration, or None where none does."""
    paths = [path for path in itertools.product(range(logp_SV.shape[1]), repeat=len(logp_SV)) if collapse(path) == ids]
    return max(paths, key=lambda path: logp_SV[range(len(path)), path].sum(), default=None)
