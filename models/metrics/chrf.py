"""chrF by sacrebleu: F of character n-grams, which asks for no tokens and so compares across conventions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sacrebleu.metrics import CHRF

from models.errors import CorpusError


@dataclass(frozen=True, kw_only=True)
class ChrfScore:
    """chrF2, 0 to 100, and sacrebleu's signature of it."""

    score: float
    signature: str


def corpus_chrf(references: Sequence[str], hypotheses: Sequence[str]) -> ChrfScore:
    """chrF2 (six character orders, no words, recall counts twice) of `hypotheses` against one reference each.

    Raises CorpusError where there is no sentence, ValueError where the sides differ in number.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each a sentence")
    if not references:
        raise CorpusError("there are no sentences, so there is no chrF: check the split")
    metric = CHRF()
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return ChrfScore(score=float(score.score), signature=str(metric.get_signature()))
