"""Slow forms of the metrics, written from their definitions alone."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

from models.metrics import WordErrors


def slow_word_errors(reference: list[str], hypothesis: list[str]) -> WordErrors:
    """Alignment at costs 4, 3, 3, walked from the end with the preference correct, substitution, insertion, deletion."""

    @cache
    def cost(i: int, j: int) -> int:
        if not i or not j:
            return 3 * (i + j)
        diagonal = cost(i - 1, j - 1) + (0 if reference[i - 1] == hypothesis[j - 1] else 4)
        return min(diagonal, cost(i, j - 1) + 3, cost(i - 1, j) + 3)

    counts: Counter[str] = Counter()
    i, j = len(reference), len(hypothesis)
    while i or j:
        if i and j and reference[i - 1] == hypothesis[j - 1]:
            counts["correct"], i, j = counts["correct"] + 1, i - 1, j - 1
        elif i and j and cost(i, j) == cost(i - 1, j - 1) + 4:
            counts["substitutions"], i, j = counts["substitutions"] + 1, i - 1, j - 1
        elif j and cost(i, j) == cost(i, j - 1) + 3:
            counts["insertions"], j = counts["insertions"] + 1, j - 1
        else:
            counts["deletions"], i = counts["deletions"] + 1, i - 1
    return WordErrors(**counts)


def slow_bleu(references: list[str], hypotheses: list[str], *, order: int, char: bool) -> float:
    """Corpus BLEU with orders 1..`order`, from clipped counts."""
    left = [[*text.replace(" ", "")] if char else text.split() for text in references]
    right = [[*text.replace(" ", "")] if char else text.split() for text in hypotheses]
    precisions = [_precision(left, right, size) for size in range(1, order + 1)]
    num_left, num_right = sum(map(len, left)), sum(map(len, right))
    if 0.0 in precisions:
        return 0.0
    brevity = min(1.0, math.exp(1 - num_left / num_right))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / order)


def _precision(left: list[list[str]], right: list[list[str]], size: int) -> float:
    matches = sum((_grams(reference, size) & _grams(hypothesis, size)).total() for reference, hypothesis in zip(left, right, strict=True))
    return matches / max(1, sum(_grams(hypothesis, size).total() for hypothesis in right))


def _grams(tokens: list[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def slow_rouge_l(reference: str, hypothesis: str, *, char: bool) -> float:
    left = (" ".join(reference) if char else reference).split(" ")
    right = (" ".join(hypothesis) if char else hypothesis).split(" ")

    @cache
    def common(i: int, j: int) -> int:
        if not i or not j:
            return 0
        return common(i - 1, j - 1) + 1 if left[i - 1] == right[j - 1] else max(common(i - 1, j), common(i, j - 1))

    recall, precision = common(len(left), len(right)) / len(left), common(len(left), len(right)) / len(right)
    beta = precision / (recall + 1e-12)
    return 100 * (1 + beta**2) * recall * precision / (recall + beta**2 * precision + 1e-12)
