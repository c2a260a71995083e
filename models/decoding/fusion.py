"""What is added to a prefix' score for each gloss that it emits: a language model's word, a bonus for length, a bonus for hot words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.jit import jit

NONE = -1
ROOT = 0


class Fusion(NamedTuple):
    """An n-gram model over tokens and bonuses, as arrays. Nodes are the n-grams, node 0 the empty one; logarithms are natural and weighted.

    `word` says which word of the model a token is (NONE: none); `suffix` is the longest shorter n-gram that a node ends in, `context`
    what it leaves as history; children of a node are sorted by word. `highest` bounds the bonus of any token from above.
    """

    active: bool
    start: int
    highest: np.float32
    bias: NDArray[np.float32]  # (V,)
    word: NDArray[np.int32]  # (V,)
    log_prob: NDArray[np.float32]
    backoff: NDArray[np.float32]
    suffix: NDArray[np.int32]
    context: NDArray[np.int32]
    child_start: NDArray[np.int32]
    child_word: NDArray[np.int32]
    child_node: NDArray[np.int32]


def no_model(bias_V: NDArray[np.float32], *, active: bool) -> Fusion:
    """Bonuses alone."""
    num_classes = len(bias_V)
    words, none = np.full(num_classes, NONE, np.int32), np.zeros(0, np.int32)
    root, log_root = np.zeros(1, np.int32), np.zeros(1, np.float32)
    highest = np.float32(max(0.0, bias_V.max(initial=0.0)) if active else 0.0)
    return Fusion(active, ROOT, highest, bias_V, words, log_root, log_root, root, root, np.zeros(2, np.int32), none, none)


NO_FUSION = no_model(np.zeros(0, np.float32), active=False)


@jit
def emission_bonus(fusion: Fusion, history: int, token: int) -> tuple[np.float32, int]:
    """Bonus of `token` after `history` (a node), and the history that it leaves; of an active fusion only."""
    bonus, word = fusion.bias[token], fusion.word[token]
    if word == NONE:
        return bonus, ROOT
    node = _child(fusion, history, word)
    while node == NONE:  # the root has every word
        bonus += fusion.backoff[history]
        history = fusion.suffix[history]
        node = _child(fusion, history, word)
    return bonus + fusion.log_prob[node], int(fusion.context[node])


@jit
def _child(fusion: Fusion, node: int, word: int) -> int:
    low, high = fusion.child_start[node], fusion.child_start[node + 1]
    while low < high:
        middle = (low + high) >> 1
        if fusion.child_word[middle] < word:
            low = middle + 1
        else:
            high = middle
    return int(fusion.child_node[low]) if low < fusion.child_start[node + 1] and fusion.child_word[low] == word else NONE
