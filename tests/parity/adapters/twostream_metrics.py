"""`twostream_metrics`: clean-up, word errors, BLEU and ROUGE-L on (hypothesis, reference) pairs that the case lists."""

from __future__ import annotations

from typing import Any

from models.metrics.bleu import Level, corpus_bleu
from models.metrics.cleanup import clean
from models.metrics.rouge import corpus_rouge_l
from models.metrics.wer import word_errors
from tests.parity.case import Case
from tests.parity.comparison import Report

Pairs = list[list[str]]


def run(case: Case, report: Report) -> None:
    pairs: Pairs = case.inputs["glosses"]
    values: dict[str, Any] = {"wer_no_cleaning": _word_errors(pairs)}
    for name, corpus in (("phoenix_2014", "phoenix2014"), ("phoenix_2014t", "phoenix2014t")):
        cleaned = [[clean(text, corpus) for text in pair] for pair in pairs]
        values |= {f"clean_{name}": cleaned, f"wer_{name}": _word_errors(cleaned)}
    words = case.inputs["sentences_word"]
    values |= _texts([pair for pair in words if pair[0]], "word") | _texts(case.inputs["sentences_char"], "char")
    values |= {"bleu_word": _texts(words, "word")["bleu_word"], "rouge_word_with_empty_hypothesis": _texts(words, "word")["rouge_word"]}
    report.compare_all("values", values, case["values"])


def _word_errors(pairs: Pairs) -> dict[str, float]:
    errors = word_errors([reference.split() for _, reference in pairs], [hypothesis.split() for hypothesis, _ in pairs])
    return {
        "wer": errors.rate,
        "del": errors.deletions,
        "ins": errors.insertions,
        "sub": errors.substitutions,
        "ref_len": errors.reference_tokens,
        "error": errors.errors,
    }


def _texts(pairs: Pairs, level: Level) -> dict[str, Any]:
    hypotheses, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    scores = corpus_bleu(references, hypotheses, level=level)
    bleu = {"bleu1": scores.bleu1, "bleu2": scores.bleu2, "bleu3": scores.bleu3, "bleu4": scores.bleu4}
    return {f"bleu_{level}": bleu, f"rouge_{level}": corpus_rouge_l(references, hypotheses, level=level)}
