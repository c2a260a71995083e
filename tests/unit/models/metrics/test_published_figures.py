"""Real sentences scored by the published programs. They are licensed, so they stay beside the repository; a clone skips this."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.metrics import WordErrors, clean, errors_by_sentence
from models.metrics.bleu import corpus_bleu
from models.metrics.rouge import rouge_l

SHARED = Path(__file__).resolve().parents[5] / "shared" / "parity"
needs_figures = pytest.mark.skipif(not SHARED.is_dir(), reason="no parity cases in ../shared/parity")
RULES = {"phoenix2014": ("phoenix2014", False), "phoenix2014-T": ("phoenix2014t", True), "CSL-Daily": ("csl_daily", True)}


def expected(name: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((SHARED / f"{name}.json").read_text(encoding="utf-8"))["expected"]
    return record


def counts(record: dict[str, int], correct: int) -> WordErrors:
    return WordErrors(substitutions=record["S"], deletions=record["D"], insertions=record["I"], correct=correct)


@needs_figures
@pytest.mark.parametrize("corpus", RULES)
def test_clean_up_and_counts_equal_those_of_wer_list(corpus: str) -> None:
    rules, lower_cased = RULES[corpus]
    sentences = [sentence for sentence in expected("wer")[corpus]["sentences"] if sentence["twostream"]]
    references, hypotheses = (
        [clean(sentence[side], rules, lower_cased=lower_cased).split() for sentence in sentences] for side in ("reference_annotation", "hypothesis")
    )
    published = [sentence["twostream"] for sentence in sentences]
    assert references == [record["reference"].split() for record in published]
    assert hypotheses == [record["hypothesis"].split() for record in published]
    wanted = [counts(record, record["ref_len"] - record["S"] - record["D"]) for record in published]
    assert errors_by_sentence(references, hypotheses) == wanted


@needs_figures
@pytest.mark.parametrize("corpus", RULES)
def test_counts_equal_those_of_sclite(corpus: str) -> None:
    sentences = expected("wer")[corpus]["sentences"]
    references = [sentence["reference_stm"].upper().split() for sentence in sentences]
    hypotheses = [(sentence["hypothesis_after_preprocess"].upper() or "[EMPTY]").split() for sentence in sentences]
    assert errors_by_sentence(references, hypotheses) == [counts(sentence["sclite"], sentence["sclite"]["C"]) for sentence in sentences]


@needs_figures
@pytest.mark.parametrize("name", ["de_word", "zh_char", "corner_no_4gram", "corner_all_empty"])
def test_bleu_and_rouge_equal_the_published_programs(name: str) -> None:
    record = expected("bleu_rouge")[name]
    references, hypotheses, level, wanted = record["references"], record["hypotheses"], record["level"], record["expected"]
    scores = corpus_bleu(references, hypotheses, level=level)
    assert [scores.bleu1, scores.bleu2, scores.bleu3, scores.bleu4] == pytest.approx([wanted["bleu"][f"bleu{order}"] for order in (1, 2, 3, 4)], abs=1e-9)
    sentences = [rouge_l(reference, hypothesis, level=level) for reference, hypothesis in zip(references, hypotheses, strict=True)]
    assert sentences == pytest.approx(wanted["rouge_l_per_sentence"], abs=1e-9)
