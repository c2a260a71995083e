"""ROVER: several systems' hypotheses of one clip as one sentence, by alignment into slots and a vote in each (Fiscus 1997).

The hypotheses are aligned one after the other with the network of slots that those before have made; a slot holds one word, or nothing, per system. In each
slot the words' votes are added, weighed by system, and the first of the most voted wins, where "nothing" counts like a word. The paper's vote by
frequency of occurrence, with a weight per system in place of confidences.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NOTHING = -1
SUBSTITUTION, GAP = 4, 3  # costs of NIST's alignment (sclite, rover)
TIE = 1e-9  # votes this near are equal


def slots(hypotheses: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Slots (S, M) of M hypotheses of word ids: the word of each, or NOTHING. The first hypothesis decides the order where the others leave it open."""
    network = np.array(hypotheses[0], np.int64)[:, None]
    for sentence in hypotheses[1:]:
        network = _joined(network, sentence)
    return network


def votes(slots_SM: NDArray[np.int64], weights_RM: NDArray[np.float64]) -> NDArray[np.int64]:
    """Words (R, S) that each of R weightings chooses, or NOTHING; of words with equal votes that of the earliest system that has a weight."""
    agreed_SMM = (slots_SM[:, :, None] == slots_SM[:, None, :]).astype(np.float64)
    votes_RSM = np.einsum("smn,rn->rsm", agreed_SMM, weights_RM)
    votes_RSM = np.where(weights_RM[:, None, :] > 0, votes_RSM, -1.0)
    winners_RS = (votes_RSM > votes_RSM.max(-1, keepdims=True) - TIE).argmax(-1)
    return np.asarray(slots_SM[np.arange(len(slots_SM)), winners_RS])


def rover(hypotheses: Sequence[Sequence[int]], weights: Sequence[float]) -> tuple[int, ...]:
    """The hypotheses (word ids) of M systems as one. Raises ValueError where there are no hypotheses, or not as many weights, or no weight above 0."""
    if not hypotheses or len(hypotheses) != len(weights) or not sum(weights) > 0 or min(weights) < 0:
        raise ValueError(f"{len(hypotheses)} hypotheses with weights {list(weights)}: each needs one, and their sum must be above 0")
    (words_S,) = votes(slots(hypotheses), np.asarray([weights], np.float64))
    return tuple(words_S[words_S != NOTHING].tolist())


def _joined(network_SM: NDArray[np.int64], sentence: Sequence[int]) -> NDArray[np.int64]:
    """The network with one more system's sentence, at the least cost: a word fits a slot in which any system has it."""
    num_slots, num_systems = network_SM.shape
    costs = np.zeros((num_slots + 1, len(sentence) + 1), np.int64)
    # A slot that some system leaves empty is passed over at no cost.
    skips = np.where((network_SM == NOTHING).any(1), 0, GAP)
    costs[1:, 0] = np.cumsum(skips)
    costs[0, 1:] = GAP * np.arange(1, len(sentence) + 1)
    fits = np.array([[SUBSTITUTION * (word not in slot) for word in sentence] for slot in network_SM.tolist()]).reshape(num_slots, len(sentence))
    for i in range(1, num_slots + 1):
        for j in range(1, len(sentence) + 1):
            costs[i, j] = min(costs[i - 1, j - 1] + fits[i - 1, j - 1], costs[i - 1, j] + skips[i - 1], costs[i, j - 1] + GAP)
    rows: list[list[int]] = []
    i, j = num_slots, len(sentence)
    while i or j:
        if i and j and costs[i, j] == costs[i - 1, j - 1] + fits[i - 1, j - 1]:
            i, j = i - 1, j - 1
            rows.append([*network_SM[i].tolist(), sentence[j]])
        elif i and costs[i, j] == costs[i - 1, j] + skips[i - 1]:
            i -= 1
            rows.append([*network_SM[i].tolist(), NOTHING])
        else:
            j -= 1
            rows.append([NOTHING] * num_systems + [sentence[j]])
    return np.array(rows[::-1], np.int64).reshape(-1, num_systems + 1)
