"""`wer`: real references against corrupted hypotheses, counted as sclite, the VAC family's python evaluation and wer_list do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import ParityError
from models.metrics.cleanup import clean_tokens, stops_published_evaluation
from models.metrics.conventions import EMPTY, Convention, both_sides, corpus_named
from models.metrics.wer import DELETION_COST, INSERTION_COST, SUBSTITUTION_COST, WordErrors, errors_by_sentence
from tests.parity.case import Case, Record
from tests.parity.comparison import Report

COSTS = {"sub": SUBSTITUTION_COST, "del": DELETION_COST, "ins": INSERTION_COST}


def run(case: Case, report: Report) -> None:
    if case.config["costs"] != COSTS:
        raise ParityError(f"config.costs: the published alignment knows {COSTS} only")
    for name, record in case.expected.items():
        _compare_corpus(report, name, record)


def _compare_corpus(report: Report, name: str, record: Record) -> None:
    corpus, sentences = corpus_named(name), record["sentences"]
    stm, raw, found = ([sentence[key] for sentence in sentences] for key in ("reference_stm", "reference_annotation", "hypothesis"))
    sclite, python, wer_list = (
        _by_sentence(references, found, corpus, convention) for references, convention in ((stm, "sclite"), (stm, "vac_python"), (raw, "wer_list"))
    )
    stops = [
        stops_published_evaluation(sentence["reference_annotation"], corpus) or stops_published_evaluation(sentence["hypothesis"], corpus)
        for sentence in sentences
    ]
    for row, sentence in enumerate(sentences):
        ours = {
            "hypothesis_after_preprocess": " ".join(clean_tokens(sentence["hypothesis"].split())) or EMPTY,
            "sclite": {"C": sclite[row][2].correct, **_counts(sclite[row][2])},
            "python_evaluation": _counts(python[row][2]),
            "twostream": None if stops[row] else _sentence_record(*wer_list[row]),
        }
        for key, value in ours.items():
            report.compare_exact(f"expected.{name}.sentences[{row}].{key}", value, sentence[key])
    left = [errors for (_, _, errors), stop in zip(wer_list, stops, strict=True) if not stop]
    totals = {
        "sclite": _total([errors for _, _, errors in sclite], printed=True),
        "python_evaluation": _total([errors for _, _, errors in python]),
        "twostream": {"sentences": len(left), **_total(left)},
    }
    report.compare_all(f"expected.{name}.total", totals, record["total"])


def _by_sentence(references: list[str], hypotheses: list[str], corpus: str, convention: Convention) -> list[tuple[str, str, WordErrors]]:
    """Both sides as compared, and their counts, of each sentence."""
    left, right = both_sides(references, hypotheses, corpus, convention)
    return [(" ".join(a), " ".join(b), errors) for a, b, errors in zip(left, right, errors_by_sentence(left, right), strict=True)]


def _sentence_record(reference: str, hypothesis: str, errors: WordErrors) -> dict[str, Any]:
    return {"reference": reference, "hypothesis": hypothesis, **_counts(errors), "ref_len": errors.reference_tokens}


def _counts(errors: WordErrors) -> dict[str, int]:
    return {"S": errors.substitutions, "D": errors.deletions, "I": errors.insertions}


def _total(sentences: Sequence[WordErrors], *, printed: bool = False) -> dict[str, Any]:
    errors = sum(sentences, WordErrors())
    record = {**_counts(errors), "ref_len": errors.reference_tokens, "wer": errors.rate}
    return {**record, "printed_percent_total_error": float(f"{errors.rate:.1f}")} if printed else record
