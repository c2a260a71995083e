"""How sure a score is: bootstrap intervals, and a paired test of two runs on the same clips.

Both see a score as a function of sums over sentences (of errors and reference glosses for WER, of n-gram counts for BLEU), so each
sentence is aligned once and resampling is a matrix product. Sentences count as independent draws: signers and recordings in common make
the true interval wider, and what training would give with another seed is not in it at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import CorpusError
from models.metrics.wer import WordErrors

Statistics = NDArray[np.float64]
Rate = Callable[[Statistics], NDArray[np.float64]]

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK_ENTRIES = 1 << 22  # entries of one block of weights (32 MiB)
TIE = 1e-9  # differences this near, in points, are equal: sums in another order round differently


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A score with its percentile bootstrap interval, in the score's unit (percent)."""

    value: float
    low: float
    high: float
    confidence: float
    num_resamples: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the same sentences. difference: score of B minus score of A, with its paired bootstrap interval.

    p_value: if the two runs were interchangeable (of every sentence, which answer is whose were a coin's toss), the probability of a difference
    at least as large, in either direction. Small means that these sentences tell the runs apart, not that the difference is large;
    large means that they don't, not that the runs are equal.
    """

    a: float
    b: float
    difference: Interval
    p_value: float
    num_rounds: int


def wer_statistics(sentences: Sequence[WordErrors]) -> Statistics:
    """Errors and reference tokens by sentence (N, 2), for `wer_rate`."""
    return np.array([(errors.errors, errors.reference_tokens) for errors in sentences], np.float64).reshape(-1, 2)


def mean_statistics(values: ArrayLike) -> Statistics:
    """A score by sentence or clip, such as ROUGE-L or 100 for a hit, as sums (N, 2), for `mean_rate`."""
    column = np.asarray(values, np.float64)
    return np.stack([column, np.ones_like(column)], axis=-1)


def wer_rate(sums: Statistics) -> NDArray[np.float64]:
    """Word error rate in percent (...) of sums (..., 2); NaN where a resample drew no reference token."""
    return 100.0 * mean_rate(sums)


def mean_rate(sums: Statistics) -> NDArray[np.float64]:
    """Quotient (...) of sums (..., 2)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan))


def bootstrap(statistics_NK: ArrayLike, rate: Rate, *, confidence: float = CONFIDENCE, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Interval:
    """Percentile bootstrap of `rate(sums of statistics)`, sentences drawn with replacement; the same seed gives the same interval.

    Raises CorpusError where there is no sentence, ValueError for a confidence outside (0, 1) or no resample.
    """
    statistics = _checked(statistics_NK, confidence, num_resamples)
    scores = np.concatenate([rate(weights @ statistics) for weights in _drawn(len(statistics), num_resamples, seed)])
    return _interval(float(rate(statistics.sum(axis=0))), scores, confidence, seed)


def compare(a_NK: ArrayLike, b_NK: ArrayLike, rate: Rate, *, confidence: float = CONFIDENCE, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> Comparison:
    """Runs A and B on the same sentences in the same order: paired bootstrap of their difference, and approximate randomisation for p.

    Each round of the test swaps the runs' answers on a random half of the sentences (Noreen 1989); p = (1 + rounds at least as different) / (1 + rounds).
    Raises as `bootstrap`, and ValueError where the sides differ in shape.
    """
    a, b = _checked(a_NK, confidence, num_resamples), _checked(b_NK, confidence, num_resamples)
    if a.shape != b.shape:
        raise ValueError(f"statistics {a.shape} and {b.shape}: a paired comparison needs the same sentences on both sides")
    value_a, value_b = float(rate(a.sum(axis=0))), float(rate(b.sum(axis=0)))
    scores = np.concatenate([rate(weights @ b) - rate(weights @ a) for weights in _drawn(len(a), num_resamples, seed)])
    moved = np.concatenate([_swapped_difference(a, b, rate, swapped) for swapped in _tossed(len(a), num_resamples, seed)])
    as_large = int(np.count_nonzero(np.abs(moved) >= abs(value_b - value_a) - TIE))
    return Comparison(
        a=value_a,
        b=value_b,
        difference=_interval(value_b - value_a, scores, confidence, seed),
        p_value=(1 + as_large) / (1 + num_resamples),
        num_rounds=num_resamples,
    )


def _swapped_difference(a: Statistics, b: Statistics, rate: Rate, swapped_RN: Statistics) -> NDArray[np.float64]:
    shift = swapped_RN @ (b - a)
    return rate(b.sum(axis=0) - shift) - rate(a.sum(axis=0) + shift)


def _drawn(num_sentences: int, num_resamples: int, seed: int) -> Iterator[Statistics]:
    """How often each resample drew each sentence, in blocks (R, N)."""
    generator = np.random.default_rng(seed)
    for rows in _blocks(num_sentences, num_resamples):
        places = generator.integers(0, num_sentences, (rows, num_sentences)) + num_sentences * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * num_sentences).reshape(rows, num_sentences).astype(np.float64)


def _tossed(num_sentences: int, num_rounds: int, seed: int) -> Iterator[Statistics]:
    """Which sentences each round swaps: 0 or 1, in blocks (R, N)."""
    generator = np.random.default_rng(seed)
    for rows in _blocks(num_sentences, num_rounds):
        yield generator.integers(0, 2, (rows, num_sentences)).astype(np.float64)


def _blocks(num_sentences: int, total: int) -> Iterator[int]:
    rows = max(1, CHUNK_ENTRIES // num_sentences)
    yield from (min(rows, total - start) for start in range(0, total, rows))


def _interval(value: float, scores: NDArray[np.float64], confidence: float, seed: int) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(scores, [tail, 1 - tail]).tolist() if np.isfinite(scores).any() else (value, value)
    return Interval(value=value, low=low, high=high, confidence=confidence, num_resamples=len(scores), seed=seed)


def _checked(statistics_NK: ArrayLike, confidence: float, num_resamples: int) -> Statistics:
    statistics = np.asarray(statistics_NK, np.float64)
    if not 0 < confidence < 1 or num_resamples < 1:
        raise ValueError(f"confidence {confidence} and {num_resamples} resamples: a share below 1 and at least one were expected")
    if statistics.ndim != 2:
        raise ValueError(f"statistics (N, K) were expected, not {statistics.shape}")
    if not len(statistics):
        raise CorpusError("there are no sentences to draw from: check the split")
    return statistics
