"""`mska_metrics`: gloss clean-up, word error rate, BLEU and ROUGE-L on texts that the case lists."""

from __future__ import annotations

from typing import Any

from models.errors import ParityError
from models.metrics.bleu import Level, corpus_bleu
from models.metrics.cleanup import clean
from models.metrics.rouge import corpus_rouge_l
from models.metrics.wer import DELETION_COST, INSERTION_COST, SUBSTITUTION_COST, word_errors
from tests.parity.case import Case
from tests.parity.comparison import Report

COSTS = {"substitution": SUBSTITUTION_COST, "insertion": INSERTION_COST, "deletion": DELETION_COST}


def run(case: Case, report: Report) -> None:
    if case.config["wer_costs"] != COSTS:
        raise ParityError(f"config.wer_costs: the published alignment knows {COSTS} only")
    report.compare_all("values", {**_glosses(case), **_texts(case, "word", "text"), **_texts(case, "char", "char")}, case["values"])


def _glosses(case: Case) -> dict[str, Any]:
    references, hypotheses = case.inputs["gloss_reference"], case.inputs["gloss_hypothesis"]
    values: dict[str, Any] = {"wer_raw": _rates(references, hypotheses)}
    for corpus in ("phoenix2014t", "phoenix2014"):
        cleaned = [clean(text, corpus) for text in hypotheses]
        values[f"{corpus}_clean"] = cleaned
        values[f"wer_{corpus}"] = _rates([clean(text, corpus) for text in references], cleaned)
    return values


def _rates(references: list[str], hypotheses: list[str]) -> dict[str, float]:
    errors = word_errors([text.split() for text in references], [text.split() for text in hypotheses])
    return {
        "wer": errors.rate,
        "sub_rate": errors.rate_of(errors.substitutions),
        "del_rate": errors.rate_of(errors.deletions),
        "ins_rate": errors.rate_of(errors.insertions),
    }


def _texts(case: Case, level: Level, prefix: str) -> dict[str, Any]:
    references, hypotheses = case.inputs[f"{prefix}_reference"], case.inputs[f"{prefix}_hypothesis"]
    scores = corpus_bleu(references, hypotheses, level=level)
    bleu = {"bleu1": scores.bleu1, "bleu2": scores.bleu2, "bleu3": scores.bleu3, "bleu4": scores.bleu4}
    return {f"bleu_{level}": bleu, f"rouge_{level}": corpus_rouge_l(references, hypotheses, level=level)}
