"""Scores of isolated signs, and how they are shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from models.answering import Unanswered
from models.bundle import CorpusCard
from models.classification import Classification, RecognisedSign, SignAnswer
from models.errors import CorpusError
from models.options import AnswerOptions
from tests.unit.tiny_signs import CLASSES, SIGNS
from workloads.evaluate import write_evaluation
from workloads.scoring import Answer
from workloads.sign_reports import evaluation_tables
from workloads.sign_scoring import SignEvaluation, score_signs


def answer(name: str, label: str | None, recognised: str, *, rank: int = 0, signer: str = "A") -> Answer:
    """A clip that `ensemble` answers by `recognised`, with `rank` signs above the label; `joint` always answers BAUM."""
    logits = np.full(len(SIGNS), -1.0, np.float32)
    others = [sign for sign in SIGNS if sign not in (label, recognised)]
    ranked = [recognised, *others[: rank - 1], *([label] if label in SIGNS else [])] if rank else [recognised]
    for place, sign in enumerate(ranked):
        logits[SIGNS.index(sign)] = 10.0 - place
    heads = {
        "ensemble": SignAnswer(candidates=(RecognisedSign(label=recognised, probability=0.9),), logits=logits),
        "joint": SignAnswer(candidates=(RecognisedSign(label="BAUM", probability=0.4),), logits=np.arange(7, 0, -1, dtype=np.float32)),
    }
    outcome = Classification(name=name, num_frames=9, fps=None, heads=heads, low_confidence=False)
    return Answer(signer=signer, glosses=None, label=label, outcome=outcome)


ANSWERS = [
    answer("a", "HAUS", "HAUS"),
    answer("b", "HAUS", "SONNE", rank=2),
    answer("c", "WIND", "BAUM", rank=6, signer="B"),
    answer("d", "BAUM", "BAUM", signer="B"),
    answer("unlabelled", None, "BAUM"),
    answer("foreign", "WOLKE", "BAUM"),
    Answer(signer="", glosses=None, label="HAUS", outcome=Unanswered(name="broken", reason="too short")),
]


def scored(answers: list[Answer] = ANSWERS) -> SignEvaluation:
    return score_signs(answers, classes=CLASSES, corpus=CorpusCard(name="synthetic"), decoding=AnswerOptions(), split="test")


def test_accuracy_per_instance_and_per_class() -> None:
    evaluation = scored()
    assert evaluation.top1 == {"ensemble": 50.0, "joint": 25.0}
    ensemble = evaluation.accuracy["ensemble"]
    assert (ensemble[5].per_instance, ensemble[1].per_class) == (75.0, pytest.approx((50 + 100 + 0) / 3))
    assert len(ensemble[1].classes_without_clips) == 4
    assert {signer: accuracy[1].per_instance for signer, accuracy in evaluation.by_signer.items()} == {"A": 50.0, "B": 50.0}
    assert evaluation.confused == [("HAUS", "SONNE", 1), ("WIND", "BAUM", 1)]


def test_what_cannot_be_scored_is_counted_with_its_reason() -> None:
    evaluation = scored()
    assert {clip.name: clip.reason for clip in evaluation.unscored} == {
        "unlabelled": "no label: there is nothing to compare with",
        "foreign": "label 'WOLKE' is none of the 7 classes that the network knows",
        "broken": "too short",
    }
    assert evaluation.unknown == {"WOLKE": 1}
    with pytest.raises(CorpusError, match="split 'test': none of 3 clips can be scored; the first, unlabelled: no label"):
        scored(ANSWERS[4:])


def test_it_is_written_and_shown(tmp_path: Path) -> None:
    evaluation = scored()
    write_evaluation(evaluation, tmp_path)
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert record["accuracy"]["ensemble"] == pytest.approx(
        {"top1_per_instance": 50.0, "top5_per_instance": 75.0, "top1_per_class": 50.0, "top5_per_class": 200 / 3}
    )
    first = json.loads((tmp_path / "predictions.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert (first["label"], first["recognised"], first["ranks"]) == ("HAUS", {"ensemble": "HAUS", "joint": "BAUM"}, {"ensemble": 0, "joint": 1})
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000
    console = Console(width=120, record=True, file=io.StringIO())
    for part in evaluation_tables(evaluation):
        console.print(part)
    shown = console.export_text()
    for expected in ("ensemble (answers)", "By signer", "Most confused", "3 signs; 4 have no clip", "WOLKE (1)", "not scored: broken: too short"):
        assert expected in shown
