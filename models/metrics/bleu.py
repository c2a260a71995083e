"""Corpus BLEU-1 to BLEU-4 with the conventions of the published translation figures (metrics.md, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sacrebleu.metrics import BLEU

from models.errors import CorpusError

Level = Literal["word", "char"]

ORDERS = (1, 2, 3, 4)


@dataclass(frozen=True, kw_only=True)
class BleuScores:
    """BLEU-1 to BLEU-4, 0 to 100, each with orders up to its own; `signature` is sacrebleu's for the last."""

    bleu1: float
    bleu2: float
    bleu3: float
    bleu4: float
    signature: str


def corpus_bleu(references: Sequence[str], hypotheses: Sequence[str], *, level: Level = "word") -> BleuScores:
    """BLEU of `hypotheses` against one reference each: no tokenisation beyond white space, no lower-casing, no smoothing.

    Level "char" (CSL-Daily) takes every character that is no white space for a token.
    Raises CorpusError where there is no sentence, ValueError where the sides differ in number.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each a sentence")
    if not references:
        raise CorpusError("there are no sentences, so there is no BLEU: check the split")
    texts = [_spaced(text, level) for text in hypotheses], [[_spaced(text, level) for text in references]]
    metrics = [BLEU(tokenize="none", smooth_method="none", max_ngram_order=order, force=True) for order in ORDERS]
    bleu1, bleu2, bleu3, bleu4 = (float(metric.corpus_score(*texts).score) for metric in metrics)
    return BleuScores(bleu1=bleu1, bleu2=bleu2, bleu3=bleu3, bleu4=bleu4, signature=str(metrics[-1].get_signature()))


def _spaced(text: str, level: Level) -> str:
    return " ".join(text) if level == "char" else text
