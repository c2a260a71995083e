"""Cases of the scorers with other sentences than the recorded ones, their figures counted by hand; and altered ones that must miss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.parity.run import Status, main
from tests.unit.models.metrics.oracles import slow_bleu, slow_rouge_l

Values = dict[str, Any]
COSTS = {"sub": 4, "del": 3, "ins": 3}


def status(folder: Path, values: Values) -> Status:
    path = folder / "case.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return main(["--quiet", "--traceback", str(path)])


def sentence(reference: str, hypothesis: str, cleaned: str, *, sclite: str, python: str, wer_list: tuple[str, str, str] | None) -> Values:
    """Counts are written "C S D I" for sclite, "S D I" else."""
    return {
        "id": reference,
        "reference_annotation": reference,
        "reference_stm": reference,
        "hypothesis": hypothesis,
        "hypothesis_after_preprocess": cleaned,
        "sclite": counts("CSDI", sclite),
        "python_evaluation": counts("SDI", python),
        "twostream": wer_list and {"reference": wer_list[0], "hypothesis": wer_list[1], **counts("SDI", wer_list[2]), "ref_len": len(wer_list[0].split())},
    }


def counts(kinds: str, text: str) -> dict[str, int]:
    return dict(zip(kinds, map(int, text.split()), strict=True))


def total(kinds: str, length: int, **more: Any) -> Values:
    found = counts("SDI", kinds)
    return {**more, **found, "ref_len": length, "wer": 100 * sum(found.values()) / length}


@pytest.fixture
def wer_case() -> Values:
    return {
        "case": "wer",
        "config": {"costs": dict(COSTS)},
        "expected": {
            "phoenix2014": {
                "total": {
                    "sclite": {**total("1 2 2", 8), "printed_percent_total_error": 62.5},
                    "python_evaluation": total("2 2 1", 8),
                    "twostream": total("1 1 0", 3, sentences=2),
                },
                "sentences": [
                    sentence(
                        "regen NORD", "REGEN loc-NORD NORD", "REGEN NORD NORD", sclite="2 0 0 1", python="1 0 0", wer_list=("regen NORD", "REGEN NORD", "1 0 0")
                    ),
                    sentence("A A B", "__PU__", "[EMPTY]", sclite="0 1 2 0", python="1 2 0", wer_list=("A+A+B", "", "0 1 0")),
                    sentence("A B C", "A B __EPENTHESIS__ C D", "A B C D", sclite="3 0 0 1", python="0 0 1", wer_list=None),
                ],
            },
        },
    }


def test_other_sentences_pass(wer_case: Values, tmp_path: Path) -> None:
    assert status(tmp_path, wer_case) == Status.PASSED


@pytest.mark.parametrize("key", ["sclite", "python_evaluation", "twostream"])
def test_another_count_misses(key: str, wer_case: Values, tmp_path: Path) -> None:
    wer_case["expected"]["phoenix2014"]["sentences"][0][key]["S"] += 1
    assert status(tmp_path, wer_case) == Status.MISSED


def test_other_costs_are_malformed(wer_case: Values, tmp_path: Path) -> None:
    wer_case["config"]["costs"]["sub"] = 3
    assert status(tmp_path, wer_case) == Status.MISSED


@pytest.mark.parametrize(("merged", "errors"), [(True, 2), (False, 3)])
def test_other_hypothesis_files_pass(merged: bool, errors: int, tmp_path: Path) -> None:
    heads = {"": [["x", ["NORD", "loc-NORD", "REGEN"]]], "_conv": [["y", ["__PU__"]], ["x", ["NORD"]]]}
    values = {
        "case": "wer_scoring",
        "config": {"costs": {"insertion": 3, "deletion": 3, "substitution": 4}, "merge_adjacent_in_hypothesis": merged},
        "inputs": {
            "references": {"value": [["x", "NORD  REGEN WIND"], ["y", "WIND"]]},
            **{f"hypotheses{name}": {"value": head} for name, head in heads.items()},
        },
        "expected": {
            "reference_words": {"x": ["NORD", "REGEN", "WIND"], "y": ["WIND"]},
            "cleaned": {"x": ["NORD", "NORD", "REGEN"], "y": ["[EMPTY]"]},
            "cleaned_conv": {"x": ["NORD"], "y": ["[EMPTY]"]},
            "wer_percent": 100 * errors / 4,
            "wer_percent_conv": 75.0,
        },
    }
    assert status(tmp_path, values) == Status.PASSED


def test_other_texts_pass(tmp_path: Path) -> None:
    references, hypotheses = ["im norden regnet es", "wind ."], ["im norden regnet oft", ""]
    values: Values = {"case": "bleu_rouge", "expected": {}}
    for level in ("word", "char"):
        char = level == "char"
        values["expected"][f"x_{level}"] = {
            "level": level,
            "references": references,
            "hypotheses": hypotheses,
            "expected": {
                "bleu": {f"bleu{order}": slow_bleu(references, hypotheses, order=order, char=char) for order in (1, 2, 3, 4)},
                "rouge_l_per_sentence": [slow_rouge_l(*pair, char=char) for pair in zip(references, hypotheses, strict=True)],
                "for_contrast": {"note": "", "sacrebleu": {}},
            },
        }
    assert status(tmp_path, values) == Status.PASSED
    values["expected"]["x_char"]["level"] = "byte"
    assert status(tmp_path, values) == Status.MISSED
