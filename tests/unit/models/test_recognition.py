"""Recognition: one answer a clip, in order, whatever the batches; times in the source's frames; honest about what it can't answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from models.answering import Unanswered, evaluation_logits
from models.decoding.decode import decode
from models.decoding.fusion import NO_FUSION
from models.decoding.hypothesis import Hypothesis
from models.decoding.language_model import fuse
from models.decoding.options import DecodingOptions
from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs
from models.recognition import Recogniser, Recognition
from models.systems import SYSTEMS
from tests.unit.tiny import VOCABULARY, tiny_clip, tiny_network


@pytest.fixture
def recogniser() -> Recogniser:
    return Recogniser(
        system=SYSTEMS["mska_slr"], network=tiny_network(scale=20), inputs=KeypointInputs(), vocabulary=VOCABULARY, decoding=DecodingOptions(head="fuse")
    )


def clips(count: int = 12) -> list[Clip]:
    return [tiny_clip(f"clip {number}", num_frames=8 + 8 * (number * 7 % 5), seed=number) for number in range(count)]


def test_answers_are_those_of_each_head_decoded_alone(recogniser: Recogniser) -> None:
    clip = tiny_clip(num_frames=40)
    recognition = next(recogniser.recognise([clip]))
    with torch.no_grad():
        heads = recogniser.network(recogniser.inputs.evaluation_batch([clip]))
    for name, logits in SYSTEMS["mska_slr"].all_logits(heads).items():
        hypothesis = decode(logits, heads.lengths, beam_width=5)[0]
        answer = recognition.heads[name]
        assert (answer.ids, answer.words) == (hypothesis.ids, tuple(VOCABULARY.decode(hypothesis.ids)))
        assert answer.score == pytest.approx(hypothesis.score)
        assert answer.confidence == pytest.approx(np.mean(hypothesis.confidences) if hypothesis.ids else 0.0)
    assert list(recognition.heads) == ["fuse", "ensemble", "left", "right", "body"]
    assert (recognition.head, recognition.answer) == ("fuse", recognition.heads["fuse"])
    assert any(len(answer.ids) > 1 for answer in recognition.heads.values()), "the tiny network says too little to test anything"


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_order_and_answers_do_not_depend_on_batches(recogniser: Recogniser, batch_size: int) -> None:
    alone = [next(recogniser.recognise([clip])) for clip in clips()]
    together = list(recogniser.recognise(clips(), batch_size=batch_size))
    for one, other in zip(alone, together, strict=True):
        assert one.name == other.name
        assert {name: answer.ids for name, answer in one.heads.items()} == {name: answer.ids for name, answer in other.heads.items()}
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_clips_are_read_as_they_are_needed(recogniser: Recogniser) -> None:
    read = 0

    def endless() -> Iterator[Clip]:
        nonlocal read
        while True:
            read += 1
            yield tiny_clip(str(read), num_frames=8)

    answers = [recognition.name for recognition in islice(recogniser.recognise(endless(), batch_size=2), 20)]
    assert answers == [str(number) for number in range(1, 21)]
    assert read <= 32


def test_heads_can_be_chosen(recogniser: Recogniser) -> None:
    assert list(next(recogniser.recognise(clips(1), heads=["body", "left"])).heads) == ["body", "left"]
    with pytest.raises(ValueError, match=r"heads \['nose'\] of fuse, ensemble"):
        next(recogniser.recognise(clips(1), heads=["nose"]))
    with pytest.raises(ValueError, match="no head 'nose'"):
        replace(recogniser, decoding=DecodingOptions(head="nose")).head_names()


def test_fusion_is_what_decoding_adds_and_must_fit(recogniser: Recogniser) -> None:
    options = DecodingOptions(method="prefix_beam")
    fusion = fuse(VOCABULARY.entries, hot_words={"REGEN": 3.0, "HAUS": -3.0})
    fused = replace(recogniser, decoding=options, fusion=fusion)
    (answer,) = fused.recognise([tiny_clip()])
    logits, lengths_B = evaluation_logits(recogniser.network, recogniser.system, recogniser.inputs, [tiny_clip()])
    for head, found in answer.heads.items():
        [expected] = decode(logits[head], lengths_B, beam_width=options.beam_width, method="prefix_beam", fusion=fusion)
        assert (found.ids, found.score) == (expected.ids, expected.score)
    (plain,) = replace(fused, fusion=NO_FUSION).recognise([tiny_clip()])
    assert plain.heads != answer.heads
    with pytest.raises(ValueError, match="method 'beam' knows no language model or hot words"):
        replace(recogniser, fusion=fusion)
    with pytest.raises(ValueError, match="were made for 2 glosses, the vocabulary has 8"):
        replace(fused, fusion=fuse(["<blank>", "REGEN"], hot_words={"REGEN": 1.0}))


def answer_with(recogniser: Recogniser, hypothesis: Hypothesis, monkeypatch: pytest.MonkeyPatch, clip: Clip) -> Recognition:
    monkeypatch.setattr("models.recognition.decode", lambda logits, lengths, **_: [hypothesis] * len(lengths))
    return next(recogniser.recognise([clip]))


def test_times_are_those_of_the_source(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Hypothesis(ids=(4, 6), score=-1.0, spans=((0, 2), (9, 10)), confidences=(0.5, 1.0))
    whole = answer_with(recogniser, said, monkeypatch, tiny_clip(num_frames=43))  # 40 frames are read, 10 steps
    assert [(gloss.gloss, gloss.start_frame, gloss.end_frame) for gloss in whole.answer.glosses] == [("HAUS", 0, 8), ("REGEN", 36, 40)]
    assert [(gloss.start_s, gloss.end_s) for gloss in whole.answer.glosses] == [(0.0, 0.32), (1.44, 1.6)]
    cut = replace(recogniser, inputs=KeypointInputs(max_frames=40))
    centre = answer_with(cut, said, monkeypatch, tiny_clip(num_frames=61, fps=None))  # frames 10 to 50 are read
    assert [(gloss.start_frame, gloss.end_frame, gloss.start_s) for gloss in centre.answer.glosses] == [(10, 18, None), (46, 50, None)]


@pytest.mark.parametrize(("confidences", "threshold", "low"), [((0.4, 0.5), 0.5, True), ((0.6, 0.5), 0.5, False), ((0.4, 0.5), 0.3, False), ((), 0.0, True)])
def test_low_confidence_is_marked(recogniser: Recogniser, monkeypatch: pytest.MonkeyPatch, confidences: tuple[float, ...], threshold: float, low: bool) -> None:
    said = Hypothesis(ids=(4, 5)[: len(confidences)], score=-1.0, spans=((0, 1), (2, 3))[: len(confidences)], confidences=confidences)
    strict = replace(recogniser, decoding=DecodingOptions(low_confidence=threshold))
    recognition = answer_with(strict, said, monkeypatch, tiny_clip())
    assert recognition.low_confidence is low
    assert recognition.confidence == pytest.approx(sum(confidences) / max(1, len(confidences)))


def test_bad_clips_are_answered_with_their_reason(recogniser: Recogniser) -> None:
    good = tiny_clip("good")
    broken = good.keypoints.copy()
    broken[3, 2, 0] = np.nan
    bad = [
        (replace(good, name="points", keypoints=good.keypoints[:, :75]), "wrong keypoint count: 75 points found, 133 expected"),
        (replace(good, name="nan", keypoints=broken), "NaN or infinite keypoints: 1 values, the first in frame 3"),
        (replace(good, name="short", keypoints=good.keypoints[:3]), "too short: 3 frames found, at least 4 needed"),
        (replace(good, name="size", frame_size=(0, 0)), "frame size unknown"),
        (replace(good, name="huge", keypoints=good.keypoints * 1e35), "not finite: the network's logits overflow"),
    ]
    outcomes = list(recogniser.attempt([good, *(clip for clip, _ in bad), replace(good, name="last")]))
    assert [outcome.name for outcome in outcomes] == ["good", "points", "nan", "short", "size", "huge", "last"]
    assert isinstance(outcomes[0], Recognition)
    assert isinstance(outcomes[-1], Recognition)
    for outcome, (_, reason) in zip(outcomes[1:-1], bad, strict=True):
        assert isinstance(outcome, Unanswered)
        assert outcome.reason.startswith(reason)
    with pytest.raises(RecordingError, match="points: wrong keypoint count"):
        list(recogniser.recognise([good, bad[0][0]]))


def test_a_network_in_training_is_put_back(recogniser: Recogniser) -> None:
    recogniser.network.train()
    evaluated = next(replace(recogniser, network=tiny_network(scale=20)).recognise([tiny_clip()]))
    assert next(recogniser.recognise([tiny_clip()])) == evaluated
    assert recogniser.network.training
    assert all(module.training for module in recogniser.network.modules())
