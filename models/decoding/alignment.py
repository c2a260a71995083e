"""Where in time the glosses of a known sequence are: the likeliest CTC alignment (Viterbi), and how sure the network is of each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.jit import jit

STAY, ADVANCE, SKIP = 0, 1, 2


def align_glosses(
    logits_SV: NDArray[np.float32], normalisers_S: NDArray[np.float64], ids: Sequence[int], *, blank: int = 0
) -> tuple[tuple[tuple[int, int], ...], tuple[float, ...]]:
    """Span [start, end) of each gloss in time steps, and its mean posterior over that span.

    logits_SV less normalisers_S are the log-probabilities of one clip, without padding.
    Raises ValueError where `ids` needs more steps than the clip has (a repeated gloss needs a blank in between).
    """
    num_needed = len(ids) + sum(left == right for left, right in pairwise(ids))
    if num_needed > len(logits_SV):
        raise ValueError(f"{len(ids)} glosses need {num_needed} time steps, the clip has {len(logits_SV)}")
    if not ids:
        return (), ()
    spans, confidences = _align(logits_SV, normalisers_S, np.asarray(ids, dtype=np.int64), blank)
    return tuple((int(start), int(end)) for start, end in spans), tuple(confidences.tolist())


@jit
def _align(
    logits_SV: NDArray[np.float32], normalisers_S: NDArray[np.float64], ids: NDArray[np.int64], blank: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    moves = _best_moves(logits_SV, ids, blank)
    spans = np.zeros((len(ids), 2), np.int64)
    confidences = np.zeros(len(ids))
    state = 2 * len(ids) - moves[0, 0]  # the corner holds whether the path ends in the last gloss or in the blank behind it
    for step in range(len(logits_SV) - 1, -1, -1):
        if state % 2:
            gloss = state // 2
            if spans[gloss, 1] == 0:
                spans[gloss, 1] = step + 1
            spans[gloss, 0] = step
            confidences[gloss] += np.exp(logits_SV[step, ids[gloss]] - normalisers_S[step])
        if step:
            state -= moves[step, state]
    return spans, np.minimum(confidences / (spans[:, 1] - spans[:, 0]), 1.0)


@jit
def _best_moves(logits_SV: NDArray[np.float32], ids: NDArray[np.int64], blank: int) -> NDArray[np.int8]:
    """How many states back the best path into each (step, state) comes from; states are blank, gloss, blank, gloss, ..., blank.

    Normalisers are left out: they add the same to every path.
    """
    num_states = 2 * len(ids) + 1
    moves = np.zeros((len(logits_SV), num_states), np.int8)
    scores = np.full(num_states, -np.inf)
    scores[0], scores[1] = logits_SV[0, blank], logits_SV[0, ids[0]]
    for step in range(1, len(logits_SV)):
        for state in range(num_states - 1, -1, -1):  # falling, so that scores below still are those of the step before
            best, move = scores[state], STAY
            if state >= 1 and scores[state - 1] > best:
                best, move = scores[state - 1], ADVANCE
            if state >= 3 and state % 2 and ids[state // 2] != ids[state // 2 - 1] and scores[state - 2] > best:
                best, move = scores[state - 2], SKIP
            scores[state] = best + logits_SV[step, ids[state // 2] if state % 2 else blank]
            moves[step, state] = move
    moves[0, 0] = 1 if scores[num_states - 2] > scores[num_states - 1] else 0
    return moves
