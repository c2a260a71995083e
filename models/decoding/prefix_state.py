"""What a prefix search holds between steps: three tuples of arrays, of 48 bytes x nodes (at most 1 + beam_width x steps), 44 x beam_width and 12 x V."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE, FREED = -1, -2
ROOT = 0
IMPOSSIBLE = np.float32(-3.4028235e38)  # ctcdecode's logarithm of 0


class Tree(NamedTuple):
    """Prefixes as arrays over nodes, node 0 the empty one. `place` is NONE for a node that is out of the beam but has descendants in it."""

    parent: NDArray[np.int32]
    token: NDArray[np.int32]
    first_child: NDArray[np.int32]
    next_sibling: NDArray[np.int32]
    place: NDArray[np.int32]  # in the beam
    timestep: NDArray[np.int32]  # at which the token was likeliest, while the parent was in the beam
    context: NDArray[np.int32]  # state of the language model
    best: NDArray[np.float32]  # log-probability of the token at `timestep`
    blank: NDArray[np.float32]  # paths that end in the blank
    emitted: NDArray[np.float32]  # paths that end in the token
    score: NDArray[np.float32]
    bonus: NDArray[np.float32]  # of the language model and hot words for this token; 0 without


class Pool(NamedTuple):
    """What competes for the next beam: a heap of slots, the lowest score on top, and what each slot would become."""

    heap: NDArray[np.int32]
    node: NDArray[np.int32]  # NONE: a new child of `parent`
    parent: NDArray[np.int32]
    token: NDArray[np.int32]
    context: NDArray[np.int32]
    score: NDArray[np.float32]
    blank: NDArray[np.float32]
    emitted: NDArray[np.float32]
    log_prob: NDArray[np.float32]
    bonus: NDArray[np.float32]


class Beam(NamedTuple):
    """Nodes in falling order of score; `counts`: nodes in the beam, nodes ever made, head of the list of freed nodes, steps seen, slots taken.

    seat (V,): where a token stands among the step's candidates, or NONE; mark (V,): the last prefix that has the token as a child already.
    """

    nodes: NDArray[np.int32]
    counts: NDArray[np.int64]
    seat: NDArray[np.int32]
    mark: NDArray[np.int64]


IN_BEAM, MADE, FREE, STEP, TAKEN, TURN = 0, 1, 2, 3, 4, 5


def new_tree(num_nodes: int, start_context: int = 0) -> Tree:
    """A tree of the empty prefix, with room for `num_nodes`."""
    links = np.full((7, num_nodes), NONE, np.int32)
    logs = np.full((5, num_nodes), IMPOSSIBLE, np.float32)
    tree = Tree(*links, *logs)
    tree.place[ROOT], tree.context[ROOT] = 0, start_context
    tree.blank[ROOT] = tree.score[ROOT] = tree.bonus[ROOT] = 0.0
    return tree


def grow_tree(tree: Tree, num_nodes: int) -> Tree:
    """The same tree with room for `num_nodes`."""
    grown = new_tree(num_nodes)
    for old, new in zip(tree, grown, strict=True):
        new[: len(old)] = old
    return grown


def new_beam(beam_width: int, num_classes: int) -> Beam:
    """A beam of the root alone."""
    counts = np.array([1, 1, NONE, 0, 0, 0], np.int64)
    return Beam(np.zeros(beam_width, np.int32), counts, np.full(num_classes, NONE, np.int32), np.full(num_classes, NONE, np.int64))


def new_pool(beam_width: int) -> Pool:
    return Pool(*np.empty((5, beam_width), np.int32), *np.empty((5, beam_width), np.float32))
