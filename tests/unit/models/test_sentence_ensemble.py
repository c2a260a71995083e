"""Ensembles of sentences: saved and read back, equal to fusion by hand, the same whatever the batch mates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.bundle import Bundle, DecodingOptions, load_bundle
from models.decoding.decode import decode
from models.ensemble import Ensemble, load, save_ensemble
from models.errors import BundleError
from models.fusion import FusionRule, fuse
from models.joint_recognition import JointRecogniser
from models.systems import SYSTEMS
from models.vocabulary import SPECIALS, Vocabulary
from tests.unit.tiny import VOCABULARY, save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import save_tiny_sign_bundle

WEIGHTS = {"a": 0.7, "b": 0.3}


def members(folder: Path) -> dict[str, Bundle]:
    decoding = DecodingOptions(head="fuse", beam_width=3)
    return {
        "a": save_tiny_bundle(folder / "a", tiny_network(1, scale=20), decoding=decoding),
        "b": save_tiny_bundle(folder / "b", tiny_network(2, scale=20)),
    }


def saved(folder: Path, rule: FusionRule = "probs") -> Ensemble:
    return save_ensemble(folder / "both", members(folder), WEIGHTS, metrics={"dev_wer": {"ensemble": 9.5}}, provenance={}, fuse=rule)


def joint(ensemble: Ensemble) -> JointRecogniser:
    recogniser = ensemble.recogniser()
    assert isinstance(recogniser, JointRecogniser)
    return recogniser


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = saved(tmp_path)
    read = load(tmp_path / "both")
    assert isinstance(read, Ensemble)
    assert (read.weights, read.fuse, read.task, read.checksum) == (WEIGHTS, "probs", "slr", written.checksum)
    assert (read.classes, read.answering) == (VOCABULARY, ("ensemble", "a", "b"))
    assert read.decoding == DecodingOptions(head="ensemble", beam_width=3)
    assert {name: bundle.decoding.head for name, bundle in read.members.items()} == {"a": "fuse", "b": "ensemble"}
    card = (read.folder / "README.md").read_text(encoding="utf-8")
    for expected in ("Continuous sign language recognition", "2 networks, whose probabilities are added", "| a | 0.7 | 70.0% |", "dev_wer.ensemble | 9.50"):
        assert expected in card
    assert saved(tmp_path, "logits").checksum != written.checksum


@pytest.mark.parametrize("rule", ["probs", "logits"])
def test_it_equals_posteriors_fused_by_hand(tmp_path: Path, rule: FusionRule) -> None:
    ensemble, clip = saved(tmp_path, rule), tiny_clip(num_frames=60, seed=5)
    logits = {}
    for name, bundle in ensemble.members.items():
        with torch.no_grad():
            heads = bundle.network()(bundle.inputs.evaluation_batch([clip]))
        logits[name] = SYSTEMS["mska_slr"].all_logits(heads)[bundle.decoding.head]
    expected = decode(fuse(logits, WEIGHTS, rule), heads.lengths, beam_width=3)[0]
    recognition = next(joint(ensemble).recognise([clip]))
    assert list(recognition.heads) == ["ensemble", "a", "b"]
    assert recognition.answer.ids == expected.ids
    assert len(expected.ids) > 1, "the tiny networks say too little to test anything"
    assert recognition.answer.score == pytest.approx(expected.score, abs=1e-5)
    assert [gloss.confidence for gloss in recognition.answer.glosses] == pytest.approx(expected.confidences)
    steps = int(heads.lengths[0])
    assert [gloss.start_frame for gloss in recognition.answer.glosses] == [start * 60 // steps for start, _ in expected.spans]
    alone = next(ensemble.members["a"].recogniser().recognise([clip]))
    assert alone.heads["fuse"] == recognition.heads["a"]


@pytest.mark.parametrize("batch_size", [3, 16])
def test_answers_do_not_depend_on_batch_mates(tmp_path: Path, batch_size: int) -> None:
    recogniser = joint(saved(tmp_path))
    clips = [tiny_clip(f"clip {number}", num_frames=8 + 8 * (number * 7 % 5), seed=number) for number in range(10)]
    alone = [next(recogniser.recognise([clip])) for clip in clips]
    together = list(recogniser.recognise(clips, batch_size=batch_size))
    for one, other in zip(alone, together, strict=True):
        assert (one.name, one.num_frames) == (other.name, other.num_frames)
        assert {name: answer.ids for name, answer in one.heads.items()} == {name: answer.ids for name, answer in other.heads.items()}
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_members_with_other_steps_are_brought_to_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recogniser = joint(saved(tmp_path))
    both = recogniser._logits([tiny_clip(num_frames=40)], ["a", "b"])
    half = replace(both["b"], logits=both["b"].logits[:, ::2], lengths=both["b"].lengths // 2)
    fused = recogniser._fused({"a": both["a"], "b": half})
    assert fused.lengths.tolist() == both["a"].lengths.tolist()
    doubled = half.logits.repeat_interleave(2, 1)
    assert torch.allclose(fused.logits, fuse({"a": both["a"].logits, "b": doubled}, WEIGHTS, "probs"))


def test_heads_of_one_network_share_a_folder_and_a_forward_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = members(tmp_path)["a"]
    heads = {name: replace(bundle, decoding=bundle.decoding.model_copy(update={"head": name})) for name in ("left", "right", "body")}
    ensemble = save_ensemble(tmp_path / "heads", heads, dict.fromkeys(heads, 1.0), metrics={}, provenance={}, fuse="probs")
    assert [path.name for path in (tmp_path / "heads" / "members").iterdir()] == ["left"]
    assert "3 heads of 1 network," in (tmp_path / "heads" / "README.md").read_text(encoding="utf-8")
    recogniser = joint(ensemble)
    calls = 0
    forward = next(iter(recogniser.members.values())).network.forward

    def counted(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        return forward(*arguments)

    monkeypatch.setattr(next(iter(recogniser.members.values())).network, "forward", counted)
    clip = tiny_clip(num_frames=40)
    recognition = next(recogniser.recognise([clip]))
    single = next(load_bundle(bundle.folder).recogniser().recognise([clip]))
    assert calls == 1
    assert {name: recognition.heads[name] for name in heads} == {name: single.heads[name] for name in heads}
    assert (
        ensemble.checksum
        != save_ensemble(
            tmp_path / "other", {"left": heads["left"], "right": heads["right"]}, {"left": 1.0, "right": 1.0}, metrics={}, provenance={}, fuse="probs"
        ).checksum
    )


def test_members_must_fit_together(tmp_path: Path) -> None:
    both = members(tmp_path)
    other = save_tiny_bundle(tmp_path / "c", classes=Vocabulary(entries=(*SPECIALS, "WIND", "MORGEN", "REGEN", "SONNE")))
    with pytest.raises(BundleError, match="the glosses of c are not those of a"):
        save_ensemble(tmp_path / "e", {"a": both["a"], "c": other}, {"a": 1, "c": 1}, metrics={}, provenance={})
    sign = save_tiny_sign_bundle(tmp_path / "s")
    with pytest.raises(BundleError, match="recognises isolated signs"):
        save_ensemble(tmp_path / "e", {"a": both["a"], "s": sign}, {"a": 1, "s": 1}, metrics={}, provenance={})
