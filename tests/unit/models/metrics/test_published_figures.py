"""Real sentences scored by the published programs. They are licensed, so they stay beside the repository; a clone skips this."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.metrics import WordErrors, both_sides, clean, errors_by_sentence, word_errors
from models.metrics.bleu import corpus_bleu
from models.metrics.cleanup import clean_tokens, merge_adjacent
from models.metrics.rouge import rouge_l
from tests.unit.shared_data import annotations, needs_annotations

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


@needs_annotations
@pytest.mark.parametrize(
    ("corpus", "table", "tokens", "repeats", "changed_tokens", "changed_sentences"),
    [
        ("phoenix2014", "phoenix-2014.dev", 5540, 5, 0, 5),
        ("phoenix2014", "phoenix-2014.test", 6504, 10, 0, 10),
        ("phoenix2014t", "phoenix-2014t.dev", 3748, 1, 13, 1),
        ("phoenix2014t", "phoenix-2014t.test", 4264, 5, 9, 4),
    ],
)
def test_errors_that_no_model_can_avoid(corpus: str, table: str, tokens: int, repeats: int, changed_tokens: int, changed_sentences: int) -> None:
    """The references as their own hypotheses: what each convention finds wrong in them (metrics.md, sections 1.4 and 1.5)."""
    references = [row["gloss"] for row in annotations(table)]
    sides = [sentence.split() for sentence in references]
    assert sum(map(len, sides)) == tokens
    assert tokens - sum(len(merge_adjacent(side)) for side in sides) == repeats
    assert sum(clean_tokens([token]) != (token,) for side in sides for token in side) == changed_tokens
    errors = {convention: word_errors(*both_sides(references, references, corpus, convention)) for convention in ("sclite", "vac_python", "wer_list", "none")}
    assert (errors["sclite"].errors, errors["vac_python"].errors) == (changed_tokens, changed_tokens + repeats)
    assert (errors["wer_list"].errors, errors["none"].errors) == (0, 0)
    upper = [sentence.upper() if corpus == "phoenix2014t" else sentence for sentence in references]
    assert sum(clean(sentence, corpus).split() != sentence.split() for sentence in upper) == changed_sentences
