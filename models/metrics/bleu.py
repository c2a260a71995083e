"""Corpus BLEU-1 to BLEU-4 by sacrebleu, with the conventions of the published translation figures (metrics.md, section 2) and sacrebleu's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

from models.errors import CorpusError

Level = Literal["word", "char"]
Tokenizer = Literal["none", "13a", "zh", "char"]
Smoothing = Literal["none", "exp"]

ORDERS = (1, 2, 3, 4)
MAX_ORDER = ORDERS[-1]
NUM_STATISTICS = 2 + 2 * MAX_ORDER  # hypothesis length, reference length, matches by order, n-grams by order


@dataclass(frozen=True, kw_only=True)
class BleuScores:
    """BLEU-1 to BLEU-4, 0 to 100, each with orders up to its own; `signature` is sacrebleu's for the last.

    counts, totals: matching and all n-grams of the hypotheses by order; precisions: their quotient in percent, smoothed where that was asked for.
    """

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    signature: str
    counts: tuple[int, ...]
    totals: tuple[int, ...]
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int


def corpus_bleu(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    level: Level = "word",
    tokenizer: Tokenizer = "none",
    smoothing: Smoothing = "none",
) -> BleuScores:
    """BLEU of `hypotheses` against one reference each; as published: no tokenisation beyond white space, no lower-casing, no smoothing.

    Level "char" (CSL-Daily) takes every character that is no white space for a token. sacrebleu's defaults are tokenizer "13a" ("zh" for
    Chinese) and smoothing "exp". Raises CorpusError where there is no sentence, ValueError where the sides differ in number.
    """
    statistics = bleu_statistics(references, hypotheses, level=level, tokenizer=tokenizer)
    lengths, counts, totals = np.split(statistics.sum(axis=0), [2, 2 + MAX_ORDER])
    hypothesis_length, reference_length = lengths.tolist()
    scores = [
        BLEU.compute_bleu(counts[:order].tolist(), totals[:order].tolist(), hypothesis_length, reference_length, smooth_method=smoothing, max_ngram_order=order)
        for order in ORDERS
    ]
    bleu1, bleu2, bleu3, bleu4 = (float(score.score) for score in scores)
    return BleuScores(
        bleu1=bleu1,
        bleu2=bleu2,
        bleu3=bleu3,
        bleu4=bleu4,
        signature=_signature(tokenizer, smoothing),
        counts=tuple(counts.tolist()),
        totals=tuple(totals.tolist()),
        precisions=tuple(scores[-1].precisions),
        brevity_penalty=float(scores[-1].bp),
        hypothesis_length=hypothesis_length,
        reference_length=reference_length,
    )


def bleu_statistics(references: Sequence[str], hypotheses: Sequence[str], *, level: Level = "word", tokenizer: Tokenizer = "none") -> NDArray[np.int64]:
    """What BLEU is made of, by sentence (N, 10): hypothesis and reference length, matching n-grams by order, the hypothesis's n-grams by order.

    Sums over any choice of sentences give their BLEU (`bleu_of_statistics`). Raises as `corpus_bleu`.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each a sentence")
    if not references:
        raise CorpusError("there are no sentences, so there is no BLEU: check the split")
    metric = BLEU(tokenize=tokenizer, force=True)
    table = np.empty((len(references), NUM_STATISTICS), np.int64)
    for row, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        score = metric.corpus_score([spaced(hypothesis, level)], [[spaced(reference, level)]])
        table[row] = [score.sys_len, score.ref_len, *score.counts, *score.totals]
    return table


def bleu_of_statistics(statistics: NDArray[Any], *, order: int = MAX_ORDER, smoothing: Smoothing = "none") -> NDArray[np.float64]:
    """BLEU (...) of summed statistics (..., 10), equal to sacrebleu's; made for many resamples at once."""
    lengths, counts, totals = np.split(np.asarray(statistics, np.float64), [2, 2 + MAX_ORDER], axis=-1)
    counts, totals = counts[..., :order], totals[..., :order]
    misses = np.cumsum(counts == 0, axis=-1)  # each order without a match halves what exp smoothing gives to the next
    smoothed = np.where(counts == 0, 0.5**misses if smoothing == "exp" else 0.0, counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = np.log(smoothed / totals).mean(axis=-1)
        brevity = np.exp(np.minimum(0.0, 1 - lengths[..., 1] / lengths[..., 0]))
        score = 100.0 * brevity * np.exp(logarithms)
    return np.where((totals > 0).all(axis=-1) & counts.any(axis=-1), score, 0.0)


def spaced(text: str, level: Level) -> str:
    """`text` with its tokens separated by blanks."""
    return " ".join(text) if level == "char" else text


def _signature(tokenizer: Tokenizer, smoothing: Smoothing) -> str:
    metric = BLEU(tokenize=tokenizer, smooth_method=smoothing, force=True)
    metric.corpus_score(["."], [["."]])  # sacrebleu counts the references first
    return str(metric.get_signature())
