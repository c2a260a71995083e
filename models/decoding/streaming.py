"""CTC prefix search of a stream: chunks of logits in, a prefix that is certain and a tail that may change out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.decoding.candidates import select_candidates
from models.decoding.emissions import read_emissions
from models.decoding.prefix_beam import PrefixHypothesis, PrefixSearch, Ranking, read_beam
from models.decoding.prefix_kernel import advance
from models.decoding.prefix_state import IN_BEAM, MADE, NONE, ROOT, STEP, Beam, Pool, Tree, grow_tree, new_beam, new_pool, new_tree
from models.jit import jit


@dataclass(frozen=True, kw_only=True)
class Partial:
    """What is known after some chunks, repeats not merged.

    stable: the longest common prefix of all hypotheses in the beam. Every later hypothesis grows from one of these, so stable labels and
    their time steps never change; they only become more. tentative: the rest of the best hypothesis as of now, which may.
    Time steps count from the stream's first.
    """

    stable: tuple[int, ...]
    stable_timesteps: tuple[int, ...]
    tentative: tuple[int, ...]
    tentative_timesteps: tuple[int, ...]
    num_steps: int


class StreamingDecoder:
    """The search of `prefix_beam_search`, carried from chunk to chunk; what `finish` gives equals it exactly, however the stream was cut.

    Memory: 48 bytes x (glosses so far + 2 x beam_width x the longest chunk), about; it doesn't grow with the steps of a stream that is sure of its past.
    """

    def __init__(self, num_classes: int, search: PrefixSearch) -> None:
        """num_classes: V. Raises ValueError where `search` doesn't fit it."""
        search.check_classes(num_classes)
        self._num_classes, self._search = num_classes, search
        self._finished = False
        self._tree: Tree = new_tree(1 + search.beam_width, search.fusion.start)
        self._beam: Beam = new_beam(search.beam_width, num_classes)
        self._pool: Pool = new_pool(search.beam_width)

    def feed(self, logits_SV: Tensor) -> Partial:
        """Decode on over a chunk of logits (S, V), S of any number, and say what is known now.

        Raises ValueError for another shape, logits that are not finite (the chunk is then as if not fed), and after `finish`.
        """
        if self._finished:
            raise ValueError("the stream is finished: start a new StreamingDecoder")
        if logits_SV.ndim != 2 or logits_SV.shape[1] != self._num_classes:
            raise ValueError(f"a chunk must be (S, {self._num_classes}), not of shape {tuple(logits_SV.shape)}")
        search, num_steps = self._search, len(logits_SV)
        emissions = read_emissions(logits_SV[None], torch.tensor([num_steps]), blank=search.blank)
        candidates = select_candidates(*emissions.clip(0), scale="logits", top_n=search.cutoff_top_n, cutoff_prob=search.cutoff_prob)
        room = int(self._beam.counts[MADE]) + search.beam_width * num_steps
        if room > len(self._tree.parent):
            self._tree = grow_tree(self._tree, room + room // 2)
        advance(self._tree, self._beam, self._pool, *candidates, search.blank, search.fusion)
        return self.partial()

    def partial(self) -> Partial:
        """What is known now."""
        ids, timesteps, num_stable = _best_and_stable(self._tree, self._beam)
        labels, times = tuple(ids.tolist()), tuple(timesteps.tolist())
        return Partial(
            stable=labels[:num_stable],
            stable_timesteps=times[:num_stable],
            tentative=labels[num_stable:],
            tentative_timesteps=times[num_stable:],
            num_steps=int(self._beam.counts[STEP]),
        )

    def finish(self) -> list[PrefixHypothesis]:
        """End the stream: the final beam, the best hypothesis first."""
        self._finished = True
        return Ranking(*read_beam(self._tree, self._beam)).hypotheses()


@jit
def _best_and_stable(tree: Tree, beam: Beam) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels and time steps of the best prefix, and how many of them all prefixes of the beam share.

    A node is shared where it is an ancestor of all: counted along the way up from each other prefix to where it meets the best one's path.
    """
    num_nodes = beam.counts[MADE]
    depth_on_path = np.full(num_nodes, NONE, np.int32)
    length, node = 0, beam.nodes[0]
    while node != ROOT:
        length, node = length + 1, tree.parent[node]
    ids, timesteps = np.empty(length, np.int32), np.empty(length, np.int32)
    node = beam.nodes[0]
    for depth in range(length, 0, -1):
        depth_on_path[node] = depth
        ids[depth - 1], timesteps[depth - 1] = tree.token[node], tree.timestep[node]
        node = tree.parent[node]
    depth_on_path[ROOT] = 0
    num_stable = length
    for leaf in beam.nodes[1 : beam.counts[IN_BEAM]]:
        node = leaf
        while depth_on_path[node] == NONE:
            node = tree.parent[node]
        num_stable = min(num_stable, depth_on_path[node])
    return ids, timesteps, num_stable
