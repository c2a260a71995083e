"""The tokens that a prefix search tries in each step: the `top_n` likeliest, with their log-probabilities.

Two ways lead here, with the same result: a loop over the rows of an array on the CPU, and a sort on the logits' own device, from which
only the chosen values travel, in one copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.jit import jit

Scale = Literal["logits", "probabilities", "log_probabilities"]
LOGITS, PROBABILITIES, LOG_PROBABILITIES = 0, 1, 2
SCALES: dict[Scale, int] = {"logits": LOGITS, "probabilities": PROBABILITIES, "log_probabilities": LOG_PROBABILITIES}
TINY = np.float32(1.1754944e-38)  # what ctcdecode adds to a probability before its logarithm
NO_NORMALISERS = np.empty(0, np.float64)


class Candidates(NamedTuple):
    """Tokens (S, N) in rising order and their natural log-probabilities (S, N); `counts` (S,) says how many of a row are meant. 8 bytes x S x N."""

    tokens: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    counts: NDArray[np.int64]


def select_candidates(
    values_SV: NDArray[np.float32], normalisers_S: NDArray[np.float64] = NO_NORMALISERS, *, scale: Scale, top_n: int, cutoff_prob: float = 1.0
) -> Candidates:
    """The `top_n` largest of each row (equal ones: the lower token first); logits come with their normalisers (S,).

    `cutoff_prob` below 1 keeps fewer, by the rule of ctc_decoding.md: those up to which ln(1 + sum of probabilities) reaches it.
    """
    tokens, log_probs = _select_rows(np.ascontiguousarray(values_SV), min(top_n, values_SV.shape[1]))
    return _finish(tokens, log_probs, normalisers_S, scale, cutoff_prob)


def select_on_device(
    values_BSV: Tensor, lengths_B: Sequence[int], *, scale: Scale, top_n: int, cutoff_prob: float = 1.0
) -> tuple[list[Candidates], NDArray[np.float64]]:
    """As `select_candidates` for each clip of a batch, on the device that holds it, and normalisers (B, S) (0 but for logits); one copy to the CPU."""
    values_BSV = values_BSV.detach().float()
    top_n = min(top_n, values_BSV.shape[-1])
    values, tokens = values_BSV.sort(dim=-1, descending=True, stable=True)  # top-k would leave the order of equal values open
    tokens, order = tokens[..., :top_n].sort(dim=-1)
    values = values[..., :top_n].gather(-1, order)
    normalisers = torch.logsumexp(values_BSV, dim=-1, keepdim=True) if scale == "logits" else torch.zeros_like(values[..., :1])
    packed = torch.cat([tokens.int(), values.view(torch.int32), normalisers.view(torch.int32)], dim=-1).cpu().numpy()
    normalisers_BS = packed[..., -1].copy().view(np.float32).astype(np.float64)
    clips = []
    for index, length in enumerate(lengths_B):
        clip_tokens, clip_values = packed[index, :length, :top_n].copy(), packed[index, :length, top_n:-1].copy().view(np.float32)
        clips.append(_finish(clip_tokens, clip_values, normalisers_BS[index, :length], scale, cutoff_prob))
    return clips, normalisers_BS


def _finish(tokens_SN: NDArray[np.int32], values_SN: NDArray[np.float32], normalisers_S: NDArray[np.float64], scale: Scale, cutoff_prob: float) -> Candidates:
    _take_logs(values_SN, normalisers_S, SCALES[scale])
    counts = np.full(len(tokens_SN), tokens_SN.shape[1], np.int64)
    if cutoff_prob < 1:
        _cut_rows(tokens_SN, values_SN, counts, cutoff_prob)
    return Candidates(tokens_SN, values_SN, counts)


@jit
def _take_logs(values_SN: NDArray[np.float32], normalisers_S: NDArray[np.float64], scale: int) -> None:
    """Values become log-probabilities, in place. A probability of 0 becomes about -87.3, as ctcdecode has it."""
    for step in range(len(values_SN)):
        for place in range(values_SN.shape[1]):
            value = values_SN[step, place]
            if scale == LOGITS:
                log_prob = value - normalisers_S[step]
                values_SN[step, place] = log_prob if log_prob > -60 else np.log(np.exp(log_prob) + TINY)
            elif scale == PROBABILITIES:
                values_SN[step, place] = np.log(value + TINY)


def _cut_rows(tokens_SN: NDArray[np.int32], log_probs_SN: NDArray[np.float32], counts_S: NDArray[np.int64], cutoff_prob: float) -> None:
    """Keep of each row the likeliest tokens, up to the one with which ln(1 + sum of probabilities) reaches `cutoff_prob`."""
    for step, (tokens, log_probs) in enumerate(zip(tokens_SN, log_probs_SN, strict=True)):
        order = np.argsort(-log_probs, kind="stable")
        reached = np.log1p(np.cumsum(np.exp(log_probs[order].astype(np.float64)))) >= cutoff_prob
        kept = np.sort(order[: int(reached.argmax()) + 1] if reached.any() else order)
        counts_S[step] = len(kept)
        tokens[: len(kept)], log_probs[: len(kept)] = tokens[kept], log_probs[kept]


@jit
def _select_rows(values_SV: NDArray[np.float32], top_n: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    num_steps, num_classes = values_SV.shape
    tokens = np.empty((num_steps, top_n), np.int32)
    chosen = np.empty((num_steps, top_n), np.float32)
    keys, near, places = np.empty(num_classes, np.int32), np.empty(num_classes, np.int32), np.empty(num_classes, np.int32)
    columns = np.empty(-(-3 * top_n // 16) * 16, np.int32)
    for step in range(num_steps):
        if top_n == num_classes:
            for token in range(num_classes):
                tokens[step, token] = token
        else:
            _sortable_keys(values_SV[step], keys)
            _largest(keys, columns, near, places, tokens[step])
        for place in range(top_n):
            chosen[step, place] = values_SV[step, tokens[step, place]]
    return tokens, chosen


@jit
def _sortable_keys(values_V: NDArray[np.float32], keys_V: NDArray[np.int32]) -> None:
    """Integers in the order of the floats: with them the loops below have neither NaN nor branches, and the compiler vectorises them."""
    bits_V = keys_V.view(np.float32)
    for token in range(len(values_V)):
        bits_V[token] = values_V[token] + np.float32(0.0)  # of the two zeros, the positive one
    for token in range(len(keys_V)):
        keys_V[token] ^= (keys_V[token] >> np.int32(31)) & np.int32(0x7FFFFFFF)


@jit
def _largest(
    keys_V: NDArray[np.int32], columns: NDArray[np.int32], near_V: NDArray[np.int32], places_V: NDArray[np.int32], tokens_N: NDArray[np.int32]
) -> None:
    """Fill in the tokens of the N largest keys, rising.

    The N-th largest of the maxima of some 3 N columns bounds the N-th largest key from below; the few keys that reach it are searched.
    """
    bound = _column_bound(keys_V, columns, len(tokens_N))
    num_near = 0
    for token in range(len(keys_V)):
        places_V[num_near] = token
        near_V[num_near] = keys_V[token]
        num_near += keys_V[token] >= bound
    lowest = _nth_largest(near_V[:num_near], len(tokens_N), 32)
    num_equal = len(tokens_N)
    for key in near_V[:num_near]:
        num_equal -= key > lowest
    filled = 0
    for place in range(num_near):
        if near_V[place] > lowest or (near_V[place] == lowest and num_equal > 0):
            num_equal -= near_V[place] == lowest
            tokens_N[filled] = places_V[place]
            filled += 1


@jit
def _column_bound(keys_V: NDArray[np.int32], columns: NDArray[np.int32], rank: int) -> int:
    """A key that at least `rank` keys reach, and few more."""
    width = len(columns)
    if 2 * width > len(keys_V):
        return -(2**31)
    for column in range(width):
        columns[column] = keys_V[column]
    for start in range(width, len(keys_V) - width + 1, width):
        row = keys_V[start : start + width]
        for column in range(width):
            columns[column] = max(columns[column], row[column])
    return _nth_largest(columns, rank, 12)


@jit
def _nth_largest(keys: NDArray[np.int32], rank: int, num_rounds: int) -> int:
    """The `rank`-th largest key, by halving the interval that holds it; with fewer than 32 rounds perhaps a lower one."""
    least = greatest = keys[0]
    for place in range(len(keys)):
        least, greatest = min(least, keys[place]), max(greatest, keys[place])
    low, high = np.int64(least), np.int64(greatest) + 1  # at least `rank` keys reach low, fewer reach high
    for _ in range(num_rounds):
        middle = (low + high) >> 1
        if middle == low:
            break
        pivot, reached = np.int32(middle), 0
        for place in range(len(keys)):
            if keys[place] >= pivot:
                reached += 1
        if reached >= rank:
            low = middle
        else:
            high = middle
    return int(low)
