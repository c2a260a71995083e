"""Many weightings of the same posteriors at once: only classes that some weighting can choose are kept, and these are few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.fusion import FusionRule
from tune.search import Weights

ROWS = 2048  # distributions that are looked at together
ENTRIES = 1 << 22  # of a block of weighted values (16 MB)
NEVER = np.float32(-1e30)


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """Of some distributions, the K classes that can be the likeliest: values (M, P, K) by member, ids (P, K) ascending; NEVER where there are fewer.

    rows: (P,) which distributions these are.
    """

    rows: NDArray[np.int64]
    values: NDArray[np.float32]
    ids: NDArray[np.int64]

    def likeliest(self, weights_RM: Weights) -> NDArray[np.int64]:
        """Class (R, P) of the highest weighted value for each weighting; of equal ones the smallest id."""
        num_members, num_rows, num_kept = self.values.shape
        fused = weights_RM.astype(np.float32) @ self.values.reshape(num_members, -1)
        places = fused.reshape(-1, num_rows, num_kept).argmax(-1)
        return np.asarray(self.ids[np.arange(num_rows), places])


def likeliest(blocks: Sequence[Candidates], weights_RM: Weights) -> NDArray[np.int64]:
    """Classes (R, P) of all distributions, in their order."""
    found_RP = np.empty((len(weights_RM), sum(len(block.rows) for block in blocks)), np.int64)
    for block in blocks:
        count = max(1, ENTRIES // block.ids.size)
        for start in range(0, len(weights_RM), count):
            found_RP[start : start + count, block.rows] = block.likeliest(weights_RM[start : start + count])
    return found_RP


def candidates(logits_MPV: NDArray[np.float32], rule: FusionRule, first_row: int = 0) -> Iterator[Candidates]:
    """Candidates of the distributions `logits_MPV` (M, P, V), as `models.fusion.fuse` weighs them by `rule`; they are rows from `first_row` on."""
    for start in range(0, logits_MPV.shape[1], ROWS):
        values = logits_MPV[:, start : start + ROWS]
        yield from _pruned(softmax(values) if rule == "probs" else values, first_row + start)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


def _pruned(values_MPV: NDArray[np.float32], first_row: int) -> Iterator[Candidates]:
    """A class that another exceeds with every member can't be the likeliest; tried as the other are each member's first and that of their mean.

    Rows with about as many candidates go together, so that a few undecided ones don't swell the others.
    """
    beaten_PV = np.zeros(values_MPV.shape[1:], bool)
    for firsts_P in (*values_MPV.argmax(-1), values_MPV.mean(0).argmax(-1)):
        first_MP1 = np.take_along_axis(values_MPV, firsts_P[None, :, None].repeat(len(values_MPV), 0), axis=-1)
        beaten_PV |= (first_MP1 > values_MPV).all(0)
    num_kept_P = (~beaten_PV).sum(-1)
    sizes_P = np.ceil(np.log2(num_kept_P)).astype(np.int64)
    for size in np.unique(sizes_P):
        rows = np.flatnonzero(sizes_P == size)
        ids = np.argsort(beaten_PV[rows], axis=-1, kind="stable")[:, : num_kept_P[rows].max()]
        values = np.take_along_axis(values_MPV[:, rows], ids[None].repeat(len(values_MPV), 0), axis=-1)
        values[:, np.take_along_axis(beaten_PV[rows], ids, axis=-1)] = NEVER
        yield Candidates(rows=first_row + rows, values=values, ids=ids)
