"""Explanations of whole bundles: what is recognised is what prediction answers, and what it rests on is its own gradient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.dsta_slr.streams import Stream
from models.errors import LayerError, RecordingError, VocabularyError
from models.explanation import drawable_layers, explain, recogniser_of
from models.recognition import Recogniser
from models.translation.config import SignToTextOptions
from models.translation.network import SignToText
from models.translation.translator import GlossToText
from tests.unit.models.translation.tiny import TINY_TRANSLATOR
from tests.unit.tiny import GLOSSES, OPTIONS, VOCABULARY, save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import SIGNS, save_tiny_sign_bundle, tiny_sign_clip


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("sentences") / "bundle", tiny_network(scale=30))


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_sign_bundle(tmp_path_factory.mktemp("signs") / "bundle")


@pytest.mark.parametrize("head", ["ensemble", "fuse", "left"])
def test_what_is_explained_is_what_prediction_answers(sentences: Bundle, head: str) -> None:
    clip = tiny_clip(num_frames=33)
    recogniser = sentences.recogniser()
    assert isinstance(recogniser, Recogniser)
    expected = next(recogniser.recognise([clip])).heads[head]
    explanation = explain(sentences, recogniser.network, clip, head=head)
    assert [sign.name for sign in explanation.signs] == list(expected.words) != []
    for sign, gloss in zip(explanation.signs, expected.glosses, strict=True):
        assert sign.confidence == pytest.approx(gloss.confidence, abs=1e-5)
        assert gloss.start_frame <= explanation.peak_frame(sign) < gloss.end_frame
        assert sign.saliency.shape == (33, 133)
        assert sign.saliency.dtype == np.float32
        assert sign.saliency.max() == 1
        assert sign.saliency.min() == 0
        assert not sign.saliency[32].any()  # the network sees a multiple of four frames
    np.testing.assert_allclose(explanation.posteriors.sum(1), 1, rtol=1e-5)
    assert explanation.pictures is None


def test_keypoint_saliency_is_the_logits_own_slope(sentences: Bundle) -> None:
    """By central differences of the mean logit over the gloss's steps, in double precision."""
    clip, network = tiny_clip(num_frames=16), sentences.network().double()
    explanation = explain(sentences, network, clip, head="fuse")
    sign = explanation.signs[0]

    batch = sentences.inputs.evaluation_batch([clip])
    keypoints = batch.keypoints.double()

    def logit(place: tuple[int, int, int], step: float) -> float:
        moved = keypoints.clone()
        moved[0][place] += step
        with torch.no_grad():
            return float(network(replace(batch, keypoints=moved)).logits["fuse"][0, slice(*sign.steps), sign.index].mean())

    ratios = []
    for rank in (-20, -60, -200, -500):
        frame, point = divmod(int(np.argsort(sign.saliency[:16].ravel())[rank]), 133)
        assert 0 < sign.saliency[frame, point] < 1
        slope = [(logit((frame, point, axis), 1e-3) - logit((frame, point, axis), -1e-3)) / 2e-3 for axis in range(2)]
        ratios.append(np.hypot(*slope) / sign.saliency[frame, point])
    assert ratios == pytest.approx([ratios[0]] * 4, rel=1e-3)


def test_grad_cam_on_joints_of_a_layer(sentences: Bundle) -> None:
    network, clip = sentences.network(), tiny_clip(num_frames=24)
    explanation = explain(sentences, network, clip, layer="streams.body.blocks.0")
    assert explanation.layer == "streams.body.blocks.0"
    assert explanation.points is not None
    assert explanation.points.tolist() == list(OPTIONS.body)
    assert all(sign.saliency.shape == (24, 79) for sign in explanation.signs)


def test_an_isolated_sign_is_explained(signs: Bundle) -> None:
    clip = tiny_sign_clip(num_frames=12)
    explanation = explain(signs, signs.network(), clip)
    assert explanation.isolated
    (sign,) = explanation.signs
    assert sign.name == next(signs.recogniser().recognise([clip])).answer.label
    assert sign.saliency.shape == (12, 27)
    assert 0 <= explanation.peak_frame(sign) < 12
    on_layer = explain(signs, signs.network(), clip, layer="blocks.1")
    assert on_layer.signs[0].saliency.shape == (12, 27)


def test_bones_and_whole_bodies_are_explained_at_their_joints(tmp_path: Path) -> None:
    bundle = save_tiny_sign_bundle(tmp_path / "bone", stream=Stream.BONE)
    explanation = explain(bundle, bundle.network(), tiny_sign_clip(num_points=133))
    assert explanation.points is not None
    assert explanation.points[:4].tolist() == [0, 5, 6, 7]


def test_named_glosses_are_explained_where_they_are_likeliest(sentences: Bundle, signs: Bundle) -> None:
    explanation = explain(sentences, sentences.network(), tiny_clip(), names=GLOSSES)
    assert {sign.name for sign in explanation.signs} == set(GLOSSES)
    for sign in explanation.signs:
        assert int(explanation.posteriors[:, VOCABULARY.entries.index(sign.name)].argmax()) == sign.steps[0]
    assert [sign.steps for sign in explanation.signs] == sorted(sign.steps for sign in explanation.signs)
    (sign,) = explain(signs, signs.network(), tiny_sign_clip(), names=[SIGNS[2]]).signs
    assert (sign.name, sign.index) == (SIGNS[2], 2)


def test_layers_are_listed_and_each_can_be_explained(signs: Bundle) -> None:
    network, clip = signs.network(), tiny_sign_clip()
    layers = drawable_layers(signs, network, clip)
    assert "blocks.0" in layers
    assert not any("dropout" in layer for layer in layers)
    for layer in layers:
        saliency = explain(signs, network, clip, layer=layer).signs[0].saliency
        assert np.isfinite(saliency).all()


def test_every_mistake_is_one_line(sentences: Bundle) -> None:
    network, clip = sentences.network(), tiny_clip()
    with pytest.raises(LayerError, match=r"^no layer 'streams.body.block.1' of mska_slr has places to draw: the nearest is 'streams.body.blocks.1'; some of"):
        explain(sentences, network, clip, layer="streams.body.block.1")
    with pytest.raises(LayerError, match="doesn't depend on this layer"):
        explain(sentences, network, clip, head="left", layer="streams.body.blocks.0")
    with pytest.raises(VocabularyError, match=r"no gloss or sign 'SONE' in .*: the nearest is 'SONNE'"):
        explain(sentences, network, clip, names=["SONE"])
    with pytest.raises(ValueError, match="no head 'nose': there are ensemble, left"):
        explain(sentences, network, clip, head="nose")
    with pytest.raises(RecordingError, match="too short"):
        explain(sentences, network, tiny_clip(num_frames=2))


def test_an_empty_answer_asks_for_a_gloss(tmp_path: Path) -> None:
    network = tiny_network()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("classifier.bias"):
                parameter[0] += 100
    bundle = save_tiny_bundle(tmp_path / "bundle", network)
    with pytest.raises(RecordingError, match="clip: nothing was recognised, so there is nothing to explain: name a gloss"):
        explain(bundle, bundle.network(), tiny_clip())


def test_of_a_translation_the_recogniser_is_explained(sentences: Bundle) -> None:
    recogniser = sentences.network()
    options = SignToTextOptions(head="fuse", translator=TINY_TRANSLATOR)
    translator = SignToText(recogniser, options, feature_width=8, num_classes=len(VOCABULARY))
    assert recogniser_of(translator) is recogniser_of(recogniser) is recogniser
    with pytest.raises(LayerError, match=r"^gloss-to-text reads glosses, not clips: give the bundle of a recogniser"):
        recogniser_of(GlossToText(TINY_TRANSLATOR))
