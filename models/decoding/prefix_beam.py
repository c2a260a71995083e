"""CTC prefix beam search as ctcdecode does it, which the published figures of the VAC family come from: n-best hypotheses with time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.decoding.candidates import Candidates, select_candidates
from models.decoding.emissions import Emissions, read_emissions
from models.decoding.fusion import NO_FUSION, Fusion
from models.decoding.prefix_kernel import advance
from models.decoding.prefix_state import IN_BEAM, ROOT, Beam, Tree, new_beam, new_pool, new_tree
from models.jit import jit


@dataclass(frozen=True, kw_only=True)
class PrefixSearch:
    """How to search. beam_width: prefixes kept a step; the rest as ctcdecode names it, with its defaults.

    cutoff_top_n: likeliest tokens tried in a step, the blank being one of them or not; cutoff_prob: below 1 fewer (ctc_decoding.md has its quirk);
    fusion: language model and hot words (`language_model.fuse`).
    """

    beam_width: int = 10
    cutoff_top_n: int = 40
    cutoff_prob: float = 1.0
    blank: int = 0
    fusion: Fusion = NO_FUSION

    def __post_init__(self) -> None:
        if self.beam_width < 1 or self.cutoff_top_n < 1:
            raise ValueError(f"beam_width and cutoff_top_n must be at least 1, not {self.beam_width} and {self.cutoff_top_n}")
        if not self.cutoff_prob >= 0:
            raise ValueError(f"cutoff_prob must be a probability (1: no cut), not {self.cutoff_prob}")

    def num_bytes(self, num_steps: int, num_classes: int) -> int:
        """What searching one clip allocates at most: 48 x beam_width x S for the tree, 8 x top_n x S for the candidates, and what is the same for any S."""
        num_candidates = min(self.cutoff_top_n, num_classes)
        steps = (48 * self.beam_width + 8 * num_candidates + 8) * num_steps
        return steps + 60 * self.beam_width + 24 * num_classes + 16 * num_candidates + 256

    def check_classes(self, num_classes: int) -> None:
        """Raises ValueError where the blank or the language model's vocabulary doesn't fit."""
        if not 0 <= self.blank < num_classes:
            raise ValueError(f"blank {self.blank} is not one of {num_classes} classes")
        if self.fusion.active and len(self.fusion.bias) != num_classes:
            raise ValueError(f"language model and hot words were made for {len(self.fusion.bias)} classes, the logits have {num_classes}")


@dataclass(frozen=True, kw_only=True)
class PrefixHypothesis:
    """One label sequence that the search found, repeats not merged.

    score: natural log-probability summed over all alignments that survived, plus `bonus`, what language model, length and hot words added.
    timesteps: for each label a step at which it was likely (ctcdecode's; need not rise).
    """

    ids: tuple[int, ...]
    timesteps: tuple[int, ...]
    score: float
    bonus: float


class Ranking(NamedTuple):
    """A final beam as arrays, the best first: ids and timesteps (W, L), filled with 0 beyond `lengths` (W,); scores and bonuses (W,)."""

    ids: NDArray[np.int32]
    timesteps: NDArray[np.int32]
    lengths: NDArray[np.int64]
    scores: NDArray[np.float32]
    bonuses: NDArray[np.float32]

    def hypotheses(self, limit: int | None = None) -> list[PrefixHypothesis]:
        return [
            PrefixHypothesis(ids=tuple(ids[:length].tolist()), timesteps=tuple(times[:length].tolist()), score=float(score), bonus=float(bonus))
            for ids, times, length, score, bonus in zip(*(values[:limit] for values in self), strict=True)
        ]


def prefix_beam_search(
    logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, search: PrefixSearch, num_threads: int | None = None
) -> list[list[PrefixHypothesis]]:
    """The final beam of each clip, the best hypothesis first.

    logits_BSV: (B, S, V) of any device, normalised here; lengths_B: (B,) steps. Clips are shared out over `num_threads` (PyTorch's number).
    Raises ValueError as `read_emissions`, and where `search` doesn't fit V.
    """
    emissions = read_emissions(logits_BSV, lengths_B, blank=search.blank)
    search.check_classes(logits_BSV.shape[2])
    return emissions.map_clips(lambda index: rank_emissions(emissions, index, search).hypotheses(), num_threads=num_threads)


def rank_emissions(emissions: Emissions, index: int, search: PrefixSearch) -> Ranking:
    """The final beam of one clip whose logits are read already."""
    logits, normalisers = emissions.clip(index)
    found = select_candidates(logits, normalisers, scale="logits", top_n=search.cutoff_top_n, cutoff_prob=search.cutoff_prob)
    return rank_candidates(found, logits.shape[1], search)


def rank_candidates(candidates: Candidates, num_classes: int, search: PrefixSearch) -> Ranking:
    """The final beam over the candidates of one clip."""
    num_steps = len(candidates.tokens)
    tree = new_tree(1 + search.beam_width * num_steps, search.fusion.start)
    beam, pool = new_beam(search.beam_width, num_classes), new_pool(search.beam_width)
    advance(tree, beam, pool, *candidates, search.blank, search.fusion)
    return Ranking(*read_beam(tree, beam))


@jit
def read_beam(tree: Tree, beam: Beam) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """The fields of a `Ranking`."""
    nodes = beam.nodes[: beam.counts[IN_BEAM]]
    lengths, scores, bonuses = np.zeros(len(nodes), np.int64), np.empty(len(nodes), np.float32), np.zeros(len(nodes), np.float32)
    for row, leaf in enumerate(nodes):
        node, scores[row] = leaf, tree.score[leaf]
        while node != ROOT:
            lengths[row] += 1
            bonuses[row] += tree.bonus[node]
            node = tree.parent[node]
    longest = 0
    for length in lengths:
        longest = max(longest, int(length))
    ids, timesteps = np.zeros((len(nodes), longest), np.int32), np.zeros((len(nodes), longest), np.int32)
    for row, leaf in enumerate(nodes):
        node = leaf
        for place in range(lengths[row] - 1, -1, -1):
            ids[row, place], timesteps[row, place] = tree.token[node], tree.timestep[node]
            node = tree.parent[node]
    return ids, timesteps, lengths, scores, bonuses
