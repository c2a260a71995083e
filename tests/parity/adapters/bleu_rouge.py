"""`bleu_rouge`: corpus BLEU with everything it is made of, ROUGE-L by sentence, and other settings of sacrebleu on the same texts."""

from __future__ import annotations

import re
from typing import Any, cast

import numpy as np

from models.errors import ParityError
from models.metrics.bleu import Level, Smoothing, Tokenizer, corpus_bleu
from models.metrics.rouge import rouge_l_parts
from tests.parity.case import Case, Record
from tests.parity.comparison import Report


def run(case: Case, report: Report) -> None:
    for name, record in case.expected.items():
        if record["level"] not in ("word", "char"):
            raise ParityError(f"expected.{name}.level: {record['level']!r} is neither 'word' nor 'char'")
        report.compare_all(f"expected.{name}", _scores(record), record["expected"])


def _scores(record: Record) -> dict[str, Any]:
    references, hypotheses, level = record["references"], record["hypotheses"], cast(Level, record["level"])
    bleu = corpus_bleu(references, hypotheses, level=level)
    rouge = [rouge_l_parts(*pair, level=level) for pair in zip(references, hypotheses, strict=True)]
    precision, recall, f = np.mean(rouge, axis=0).tolist()
    return {
        "bleu": {"bleu1": bleu.bleu1, "bleu2": bleu.bleu2, "bleu3": bleu.bleu3, "bleu4": bleu.bleu4},
        "counts": bleu.counts,
        "totals": bleu.totals,
        "precisions": bleu.precisions,
        "brevity_penalty": bleu.brevity_penalty,
        "hypothesis_length": bleu.hypothesis_length,
        "reference_length": bleu.reference_length,
        "rouge_l": f,
        "rouge_l_precision": precision,
        "rouge_l_recall": recall,
        "rouge_l_per_sentence": [sentence.f for sentence in rouge],
        "for_contrast": {"sacrebleu": {key: _contrast(key, references, hypotheses, level) for key in record["expected"]["for_contrast"]["sacrebleu"]}},
    }


def _contrast(key: str, references: list[str], hypotheses: list[str], level: Level) -> float:
    """BLEU-4 of other settings; sacrebleu's own tokenizers take the text as it is, "none" the characters apart."""
    match = re.fullmatch("tokenize_(none|13a|zh|char)_smooth_(none|exp)", key)
    if match is None:
        raise ParityError(f"for_contrast: {key!r} names no setting of sacrebleu that is known here")
    tokenizer, smoothing = cast(Tokenizer, match[1]), cast(Smoothing, match[2])
    return corpus_bleu(references, hypotheses, level=level if tokenizer == "none" else "word", tokenizer=tokenizer, smoothing=smoothing).bleu4
