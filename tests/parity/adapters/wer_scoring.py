"""`wer_scoring`: small hypothesis files of two heads through the VAC family's clean-up, filling and python evaluation."""

from __future__ import annotations

from models.errors import ParityError
from models.metrics.cleanup import clean_tokens, merge_adjacent
from models.metrics.conventions import EMPTY
from models.metrics.wer import DELETION_COST, INSERTION_COST, SUBSTITUTION_COST, word_errors
from tests.parity.case import Case
from tests.parity.comparison import Report

COSTS = {"insertion": INSERTION_COST, "deletion": DELETION_COST, "substitution": SUBSTITUTION_COST}


def run(case: Case, report: Report) -> None:
    if case.config["costs"] != COSTS:
        raise ParityError(f"config.costs: the published alignment knows {COSTS} only")
    references = dict(case.inputs["references"]["value"])
    report.compare_exact("expected.reference_words", {name: sentence.split() for name, sentence in references.items()}, case.expected["reference_words"])
    for suffix in ("", "_conv"):
        found = dict(case.inputs[f"hypotheses{suffix}"]["value"])
        cleaned = {name: clean_tokens(found.get(name, ())) or (EMPTY,) for name in references}
        report.compare_exact(f"expected.cleaned{suffix}", cleaned, case.expected[f"cleaned{suffix}"])
        compared = [merge_adjacent(tokens) if case.config["merge_adjacent_in_hypothesis"] else tokens for tokens in cleaned.values()]
        rate = word_errors([sentence.split() for sentence in references.values()], compared).rate
        report.compare_numbers(f"expected.wer_percent{suffix}", rate, case.expected[f"wer_percent{suffix}"])
