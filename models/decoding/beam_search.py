"""CTC beam search as TensorFlow's decoder does it, which the published figures of MSKA and TwoStreamSLT come from.

The procedure is that of mska.md, section 6. It is exact: no class and no prefix is pruned but by the beam. What makes it quick
is that a class whose log-probability can't lift even the best prefix above the lowest of a full beam is never tried.


TensorFlow's search differs from a textbook prefix search in one thing. A leaf that is pushed out of the beam early in a step's
growth can still be extended in its turn; not so if its parent has its turn in between: the parent finds the leaf inactive, can't
bring it back, and wipes its log-probabilities of the step before, which its extensions start from. (The section says "deactivate
the child"; the published figures show that this includes the old ones.) `grown_at` and `dropped_at` tell the two apart.

A trie node is made only for a prefix that enters the beam, so a clip in flight takes 76 bytes x beam_width x (steps + 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.decoding.emissions import Emissions, read_emissions
from models.jit import jit

NONE = -1
ROOT = 0
IMPOSSIBLE = -np.inf


class _Trie(NamedTuple):
    """Prefixes as arrays over nodes, node 0 the empty one; log-probabilities of this step, and `old_` ones of the step before.

    A node whose `total` is IMPOSSIBLE is not in the beam. It stays while prefixes that extend it may be.
    """

    parent: NDArray[np.int32]
    label: NDArray[np.int32]
    first_child: NDArray[np.int32]
    next_sibling: NDArray[np.int32]
    is_new: NDArray[np.int32]  # made in this step, not yet listed among its parent's children
    total: NDArray[np.float64]
    blank: NDArray[np.float64]  # paths that end in the blank
    emitted: NDArray[np.float64]  # paths that end in the prefix' last label
    old_total: NDArray[np.float64]
    old_blank: NDArray[np.float64]
    grown_at: NDArray[np.int64]  # moment at which the node's extension began, on a clock of step, turn within the step, class
    dropped_at: NDArray[np.int64]  # moment at which it was pushed out of the beam


class _Beam(NamedTuple):
    """The prefixes kept: a heap of nodes, lowest total first; and nodes made and dropped within a step, for re-use."""

    nodes: NDArray[np.int32]
    spare: NDArray[np.int32]
    counts: NDArray[np.int64]  # nodes in the heap, spare nodes, nodes ever made


IN_BEAM, SPARE, MADE = 0, 1, 2


def tf_beam_search(
    logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, beam_width: int, blank: int = 0, num_threads: int | None = None
) -> list[tuple[tuple[int, ...], float]]:
    """Best label sequence of each clip, repeats not merged, with its natural log-probability in the search.

    logits_BSV: (B, S, V), normalised here; lengths_B: (B,) steps. Clips are shared out over `num_threads` (PyTorch's number).
    Raises ValueError as `read_emissions` does, and for a beam below 1.
    """
    return search_emissions(read_emissions(logits_BSV, lengths_B, blank=blank), beam_width=beam_width, num_threads=num_threads)


def search_emissions(emissions: Emissions, *, beam_width: int, num_threads: int | None = None) -> list[tuple[tuple[int, ...], float]]:
    """`tf_beam_search` of logits that are read already."""
    if beam_width < 1:
        raise ValueError(f"beam_width must be at least 1, not {beam_width}")

    def search(index: int) -> tuple[tuple[int, ...], float]:
        ids, score = _search(*emissions.clip(index), beam_width, emissions.blank)
        return tuple(ids.tolist()), score

    return emissions.map_clips(search, num_threads=num_threads)


@jit
def _search(logits_SV: NDArray[np.float32], normalisers_S: NDArray[np.float64], beam_width: int, blank: int) -> tuple[NDArray[np.int32], float]:
    num_steps, num_classes = logits_SV.shape
    trie = _new_trie(1 + beam_width * (num_steps + 1))
    beam = _Beam(np.empty(beam_width, np.int32), np.empty(beam_width, np.int32), np.zeros(3, np.int64))
    beam.counts[MADE] = 1
    _push(trie, beam, ROOT)
    candidates = np.empty(num_classes, np.int32)
    for step in range(num_steps):
        leaves = _leaves_by_total(trie, beam)
        clock = step * beam_width * num_classes
        _keep_leaves(trie, beam, leaves, logits_SV[step], normalisers_S[step], blank, clock)
        _grow_leaves(trie, beam, leaves, logits_SV[step], normalisers_S[step], blank, candidates, clock)
        _adopt_new_nodes(trie, beam)
    best = _leaves_by_total(trie, beam)[0]
    return _read_prefix(trie, best), trie.total[best]


@jit
def _new_trie(size: int) -> _Trie:
    links = np.full((5, size), NONE, np.int32)
    logs = np.full((5, size), IMPOSSIBLE, np.float64)
    logs[0, ROOT] = logs[1, ROOT] = 0.0
    moments = np.full((2, size), NONE - 2**40, np.int64)
    return _Trie(links[0], links[1], links[2], links[3], links[4], logs[0], logs[1], logs[2], logs[3], logs[4], moments[0], moments[1])


@jit
def _leaves_by_total(trie: _Trie, beam: _Beam) -> NDArray[np.int32]:
    """The beam's nodes in falling order of total."""
    nodes = beam.nodes[: beam.counts[IN_BEAM]]
    return nodes[np.argsort(-trie.total[nodes], kind="mergesort")]


@jit
def _keep_leaves(trie: _Trie, beam: _Beam, leaves: NDArray[np.int32], logits_V: NDArray[np.float32], normaliser: float, blank: int, clock: int) -> None:
    """Carry the beam's prefixes over the step, by a blank, a repeat of their last label, or as extension of another of them."""
    for node in leaves:
        trie.old_total[node], trie.old_blank[node] = trie.total[node], trie.blank[node]
    beam.counts[IN_BEAM] = 0
    for node in leaves:
        parent = trie.parent[node]
        if parent != NONE:
            if trie.total[parent] != IMPOSSIBLE:
                repeats = trie.label[node] == trie.label[parent]
                trie.emitted[node] = _log_add(trie.emitted[node], trie.old_blank[parent] if repeats else trie.old_total[parent])
            trie.emitted[node] += logits_V[trie.label[node]] - normaliser
        trie.blank[node] = trie.old_total[node] + (logits_V[blank] - normaliser)
        trie.total[node] = _log_add(trie.blank[node], trie.emitted[node])
        if trie.total[node] != IMPOSSIBLE:
            _push(trie, beam, node)
        else:
            trie.dropped_at[node] = clock - 1  # before anything grows in this step


@jit
def _grow_leaves(
    trie: _Trie,
    beam: _Beam,
    leaves: NDArray[np.int32],
    logits_V: NDArray[np.float32],
    normaliser: float,
    blank: int,
    candidates: NDArray[np.int32],
    clock: int,
) -> None:
    """Extend each leaf by each class; an extension that is likelier than the lowest of a full beam takes its place."""
    num_candidates = _gather_candidates(_lowest_logit(trie, beam, leaves[0], normaliser), logits_V, blank, candidates)
    for turn, node in enumerate(leaves):
        if trie.old_total[node] <= _entry_level(trie, beam):
            break  # nor can a child of a later, lower leaf enter
        if _is_wiped(trie, node):
            continue
        trie.grown_at[node] = clock + turn * len(logits_V)
        num_candidates = _narrow_candidates(_lowest_logit(trie, beam, node, normaliser), logits_V, candidates, num_candidates)
        for gloss in candidates[:num_candidates]:
            previous = trie.old_blank[node] if gloss == trie.label[node] else trie.old_total[node]
            total = previous + (logits_V[gloss] - normaliser)
            if total > _entry_level(trie, beam):
                _enter(trie, beam, node, gloss, total)


@jit
def _is_wiped(trie: _Trie, leaf: int) -> bool:
    """Whether the leaf had been pushed out when its parent, in its own turn of this step, came to the leaf's label."""
    parent = trie.parent[leaf]
    if parent == NONE or trie.total[leaf] != IMPOSSIBLE:
        return False
    return bool(trie.dropped_at[leaf] < trie.grown_at[parent] + trie.label[leaf])


@jit
def _lowest_logit(trie: _Trie, beam: _Beam, leaf: int, normaliser: float) -> float:
    """The logit below which no class can lift `leaf`, or a lower one, into the beam; the slack outweighs what rounding takes."""
    lowest = _entry_level(trie, beam) - trie.old_total[leaf] + normaliser
    return float(lowest - 1e-9 * (1.0 + abs(lowest)))


@jit
def _gather_candidates(lowest_logit: float, logits_V: NDArray[np.float32], blank: int, candidates: NDArray[np.int32]) -> int:
    """Fill in the classes that reach `lowest_logit`, rising; their number."""
    num_candidates = 0
    for gloss in range(len(logits_V)):
        if logits_V[gloss] >= lowest_logit and gloss != blank:
            candidates[num_candidates] = gloss
            num_candidates += 1
    return num_candidates


@jit
def _narrow_candidates(lowest_logit: float, logits_V: NDArray[np.float32], candidates: NDArray[np.int32], num_candidates: int) -> int:
    """Keep those of the first `num_candidates` that reach `lowest_logit`, which rises from leaf to leaf; their number."""
    num_kept = 0
    for gloss in candidates[:num_candidates]:
        candidates[num_kept] = gloss
        num_kept += logits_V[gloss] >= lowest_logit
    return num_kept


@jit
def _entry_level(trie: _Trie, beam: _Beam) -> float:
    """The log-probability that a prefix must exceed to enter: any possible one while there is room."""
    return trie.total[beam.nodes[0]] if beam.counts[IN_BEAM] == len(beam.nodes) else IMPOSSIBLE


@jit
def _enter(trie: _Trie, beam: _Beam, parent: int, gloss: int, total: float) -> None:
    """Put the child of `parent` into the beam, in place of the lowest if that is full, unless it is there already."""
    node = trie.first_child[parent]
    while node != NONE and trie.label[node] != gloss:
        node = trie.next_sibling[node]
    if node != NONE and trie.total[node] != IMPOSSIBLE:
        return
    if beam.counts[IN_BEAM] == len(beam.nodes):
        _drop_lowest(trie, beam, trie.grown_at[parent] + gloss)
    if node == NONE:
        node = _make_node(trie, beam)
        trie.parent[node], trie.label[node], trie.is_new[node] = parent, gloss, 1
    trie.total[node] = trie.emitted[node] = total
    trie.blank[node] = IMPOSSIBLE
    _push(trie, beam, node)


@jit
def _make_node(trie: _Trie, beam: _Beam) -> int:
    if beam.counts[SPARE]:
        beam.counts[SPARE] -= 1
        return int(beam.spare[beam.counts[SPARE]])
    beam.counts[MADE] += 1
    return int(beam.counts[MADE]) - 1


@jit
def _adopt_new_nodes(trie: _Trie, beam: _Beam) -> None:
    """List the step's new nodes that stayed in the beam among their parents' children."""
    for node in beam.nodes[: beam.counts[IN_BEAM]]:
        if trie.is_new[node] == 1:
            parent = trie.parent[node]
            trie.next_sibling[node] = trie.first_child[parent]
            trie.first_child[parent] = node
            trie.is_new[node] = 0


@jit
def _push(trie: _Trie, beam: _Beam, node: int) -> None:
    place = beam.counts[IN_BEAM]
    beam.counts[IN_BEAM] += 1
    while place > 0:
        above = (place - 1) // 2
        if trie.total[beam.nodes[above]] <= trie.total[node]:
            break
        beam.nodes[place] = beam.nodes[above]
        place = above
    beam.nodes[place] = node


@jit
def _drop_lowest(trie: _Trie, beam: _Beam, moment: int) -> None:
    """Take the lowest prefix out of the beam, and with it what it had gathered."""
    lowest = beam.nodes[0]
    trie.total[lowest] = trie.blank[lowest] = trie.emitted[lowest] = IMPOSSIBLE
    trie.dropped_at[lowest] = moment
    if trie.is_new[lowest] == 1:
        beam.spare[beam.counts[SPARE]] = lowest
        beam.counts[SPARE] += 1
    beam.counts[IN_BEAM] -= 1
    size = beam.counts[IN_BEAM]
    node, place = beam.nodes[size], 0
    while 2 * place + 1 < size:
        below = 2 * place + 1
        if below + 1 < size and trie.total[beam.nodes[below + 1]] < trie.total[beam.nodes[below]]:
            below += 1
        if trie.total[node] <= trie.total[beam.nodes[below]]:
            break
        beam.nodes[place] = beam.nodes[below]
        place = below
    if size:
        beam.nodes[place] = node


@jit
def _read_prefix(trie: _Trie, node: int) -> NDArray[np.int32]:
    depth, ancestor = 0, node
    while ancestor != ROOT:
        depth, ancestor = depth + 1, trie.parent[ancestor]
    ids = np.empty(depth, np.int32)
    while node != ROOT:
        depth -= 1
        ids[depth], node = trie.label[node], trie.parent[node]
    return ids


@jit
def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == IMPOSSIBLE else high + np.log1p(np.exp(low - high))
