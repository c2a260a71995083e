"""What is added to a prefix' score for each gloss that it emits: a language model's word, a bonus for length, a bonus for hot words."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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

    def __reduce__(self) -> tuple[Any, ...]:
        return _writable, tuple(self)


def _writable(*fields: Any) -> Fusion:
    """What pickling gives back. Arrays that come from shared memory (Ray's) are read-only: for numba another type, and 15 s of compiling the search anew."""
    return Fusion._make(np.require(entry, requirements="W") if isinstance(entry, np.ndarray) else entry for entry in fields)


def no_model(bias_V: NDArray[np.float32], *, active: bool) -> Fusion:
    """Bonuses alone."""
    num_classes = len(bias_V)
    words, none = np.full(num_classes, NONE, np.int32), np.zeros(0, np.int32)
    root, log_root = np.zeros(1, np.int32), np.zeros(1, np.float32)
    highest = np.float32(max(0.0, bias_V.max(initial=0.0)) if active else 0.0)
    return Fusion(active, ROOT, highest, bias_V, words, log_root, log_root, root, root, np.zeros(2, np.int32), none, none)


NO_FUSION = no_model(np.zeros(0, np.float32), active=False)
