"""Isolated recognition: candidates, probabilities, fusion of several networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.answering import Unanswered
from models.classification import Classification, Classifier, Member
from models.dsta_slr.network import SIGN
from models.dsta_slr.streams import Stream
from models.fusion import fuse
from models.options import AnswerOptions
from models.systems import SYSTEMS
from tests.unit.tiny_signs import CLASSES, SIGNS, tiny_inputs, tiny_sign_clip, tiny_sign_network

CLIPS = [tiny_sign_clip(f"clip{number}", num_frames=5 + 4 * number, seed=number) for number in range(5)]


def member(seed: int, stream: Stream = Stream.JOINT) -> Member:
    return Member(system=SYSTEMS["dsta_slr"], network=tiny_sign_network(seed), inputs=tiny_inputs(stream), head=SIGN)


def single() -> Classifier:
    return Classifier(members={"dsta_slr": member(0)}, classes=CLASSES, decoding=AnswerOptions(head=SIGN))


def several() -> Classifier:
    members = {"joint": member(0), "bone": member(1, Stream.BONE)}
    return Classifier(members=members, classes=CLASSES, decoding=AnswerOptions(), weights={"joint": 3.0, "bone": 1.0})


def test_candidates_are_the_likeliest_signs_with_their_probabilities() -> None:
    for outcome in single().recognise(CLIPS):
        logits = torch.from_numpy(outcome.answer.logits)
        best = logits.softmax(0).sort(descending=True)
        assert [sign.label for sign in outcome.answer.candidates] == [SIGNS[index] for index in best.indices[:5]]
        assert [sign.probability for sign in outcome.answer.candidates] == pytest.approx(best.values[:5].tolist())
        assert outcome.confidence == outcome.answer.candidates[0].probability
        assert outcome.low_confidence == (outcome.confidence < 0.5)


def test_a_clip_answers_alone_as_among_others() -> None:
    alone = [outcome for clip in CLIPS for outcome in several().recognise([clip])]
    for first, second in zip(alone, several().recognise(CLIPS, batch_size=3), strict=True):
        assert first.name == second.name
        np.testing.assert_allclose(first.answer.logits, second.answer.logits, rtol=1e-4, atol=1e-5)


def test_the_ensemble_is_the_weighted_mean_of_the_members_logits() -> None:
    for outcome in several().recognise(CLIPS):
        assert list(outcome.heads) == ["ensemble", "joint", "bone"]
        joint, bone = (outcome.heads[name].logits for name in ("joint", "bone"))
        np.testing.assert_allclose(outcome.answer.logits, 0.75 * joint + 0.25 * bone, rtol=1e-5, atol=1e-6)


def test_members_that_nobody_asks_for_do_not_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = several()
    monkeypatch.setattr(ensemble.members["bone"].network, "forward", lambda batch: pytest.fail("bone was not asked for"))
    [outcome] = ensemble.recognise(CLIPS[:1], heads=["joint"])
    assert list(outcome.heads) == ["joint"]


def test_a_clip_that_cannot_be_taken_does_not_disturb_the_others() -> None:
    wrong = tiny_sign_clip("wrong", num_points=21)
    outcomes = list(single().attempt([CLIPS[0], wrong, Unanswered(name="unread", reason="no such file"), CLIPS[1]]))
    assert [type(outcome) for outcome in outcomes] == [Classification, Unanswered, Unanswered, Classification]
    assert isinstance(outcomes[1], Unanswered)
    assert outcomes[1].reason == "wrong keypoint shape: (12, 21, 3) found, (frames, 27, 3) or (frames, 133, 3) expected"


def test_logits_that_overflow_are_said() -> None:
    huge = replace(CLIPS[0], keypoints=CLIPS[0].keypoints * np.float32(1e30))
    [outcome] = single().attempt([huge])
    assert isinstance(outcome, Unanswered)
    assert outcome.reason.startswith("not finite")


def test_fusion_needs_a_weight_of_each() -> None:
    logits = {"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}
    assert torch.allclose(fuse(logits, {"a": 1, "b": 3}), torch.full((2, 3), 0.25))
    for weights in ({"a": 1.0}, {"a": 0.0, "b": 0.0}):
        with pytest.raises(ValueError, match="each needs one, and their sum must be above 0"):
            fuse(logits, weights)
