"""ROUGE-L as the published translation figures have it: its weight of recall depends on the sentence (metrics.md, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import CorpusError
from models.jit import jit
from models.metrics.bleu import Level

EPSILON = 1e-12


class RougeL(NamedTuple):
    """ROUGE-L of one sentence, 0 to 100: what the longest common subsequence covers of the hypothesis and of the reference, and their F."""

    precision: float
    recall: float
    f: float


def corpus_rouge_l(references: Sequence[str], hypotheses: Sequence[str], *, level: Level = "word") -> float:
    """Mean of the sentences' ROUGE-L, 0 to 100.

    Raises CorpusError where there is no sentence, ValueError where the sides differ in number.
    """
    if not references and not hypotheses:
        raise CorpusError("there are no sentences, so there is no ROUGE-L: check the split")
    return float(np.mean([rouge_l(reference, hypothesis, level=level) for reference, hypothesis in zip(references, hypotheses, strict=True)]))


def rouge_l(reference: str, hypothesis: str, *, level: Level = "word") -> float:
    """F of the longest common subsequence, 0 to 100, with beta = precision / recall."""
    return rouge_l_parts(reference, hypothesis, level=level).f


def rouge_l_parts(reference: str, hypothesis: str, *, level: Level = "word") -> RougeL:
    """ROUGE-L of a sentence with its precision and recall."""
    left, right = _tokens(reference, level), _tokens(hypothesis, level)
    ids = {token: index for index, token in enumerate(dict.fromkeys([*left, *right]))}
    common = _common_length(np.array([ids[token] for token in left]), np.array([ids[token] for token in right]))
    if not common:
        return RougeL(0.0, 0.0, 0.0)
    recall, precision = common / len(left), common / len(right)
    beta = precision / (recall + EPSILON)
    return RougeL(100.0 * precision, 100.0 * recall, 100.0 * (1 + beta**2) * recall * precision / (recall + beta**2 * precision + EPSILON))


def _tokens(text: str, level: Level) -> list[str]:
    """Split on single blanks, so that an empty text is one empty token and a blank among characters is two, as published."""
    return (" ".join(text) if level == "char" else " ".join(text.split())).split(" ")


@jit
def _common_length(left: NDArray[np.int64], right: NDArray[np.int64]) -> int:
    """Length of the longest common subsequence."""
    lengths = np.zeros(len(right) + 1, np.int64)
    for token in left:
        diagonal = 0
        for j in range(1, len(right) + 1):
            above = lengths[j]
            lengths[j] = diagonal + 1 if token == right[j - 1] else max(above, lengths[j - 1])
            diagonal = above
    return int(lengths[-1])
