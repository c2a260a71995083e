"""Networks of pictures from end to end: a video or a folder of pictures is recognised, and explained by Grad-CAM over what the network saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.bundle import Bundle, CorpusCard, save_bundle
from models.decoding.options import DecodingOptions
from models.errors import LayerError
from models.explanation import drawable_layers, explain
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.media import read_frames
from models.vac.inputs import FrameInputs
from models.vocabulary import Vocabulary
from tests.unit.models.media.videos import write_video
from tests.unit.models.tiny_onnx import write_pose_model
from tests.unit.models.vac.tiny import NETWORKS, NUM_CLASSES, tiny
from tests.unit.workloads.corpora_on_disk import keypoints, write_npz
from workloads import predict
from workloads.explain import main as explain_main

NUM_FRAMES, SIZE = 15, 64  # the last layers have 2 × 2 places
STORED = (48, 40)  # width and height of the films
VOCABULARY = Vocabulary(entries=("<blank>", *"ABCDEF"))
assert len(VOCABULARY) == NUM_CLASSES


def moving_square(num_frames: int = NUM_FRAMES) -> np.ndarray:
    """Grey pictures (T, 40, 48, 3) in which a light square goes to the right."""
    pictures = np.full((num_frames, STORED[1], STORED[0], 3), 70, np.uint8)
    for number, picture in enumerate(pictures):
        picture[10:24, 2 * number : 2 * number + 12] = (240, 200, 150)
    return pictures


@pytest.fixture(scope="module", params=NETWORKS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    network = tiny(request.param, frame_size=SIZE)
    return save_bundle(
        tmp_path_factory.mktemp(request.param) / "bundle",
        system=request.param,
        options=network.options,
        inputs=FrameInputs(size=72, crop=SIZE),
        state_dict=network.state_dict(),
        classes=VOCABULARY,
        decoding=DecodingOptions(head="sequence"),
        corpus=CorpusCard(name="synthetic"),
        metrics={},
        provenance={},
    )


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", moving_square())


def answers(bundle: Bundle, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    status = predict.main(["--bundle", str(bundle.folder), "--format", "json", *map(str, arguments)])
    told = capsys.readouterr()
    return status, json.loads(told.out)["clips"], told.err


def test_a_video_and_its_pictures_are_recognised(bundle: Bundle, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, picture in enumerate(read_frames(film).frames.decode(np.arange(NUM_FRAMES))):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture[..., ::-1])
    status, (video, folder), _ = answers(bundle, capsys, film, tmp_path)
    assert status == 0
    assert (video["num_frames"], video["fps"], folder["fps"]) == (NUM_FRAMES, 25.0, None)
    assert video["sentence"] == folder["sentence"]
    assert video["sentence"].split() == [gloss["gloss"] for gloss in video["glosses"]]
    for gloss in video["glosses"]:
        assert 0 <= gloss["start_frame"] < gloss["end_frame"] <= NUM_FRAMES + 1
        assert gloss["start_s"] == pytest.approx(gloss["start_frame"] / 25, abs=1e-3)
        assert 0 < gloss["confidence"] <= 1


def test_what_it_cant_use_is_said(bundle: Bundle, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:-200])
    short = write_video(tmp_path / "short.mp4", moving_square(3))
    points = write_npz(tmp_path / "a.npz", keypoints(16))
    status, clips, told = answers(bundle, capsys, points, tmp_path / "cut.mp4", short, film, "--pose", write_pose_model(tmp_path / "pose.onnx"))
    assert status == 1
    assert clips[0]["error"] == f"needs pictures: {points} holds keypoints; give the video, or the folder of its pictures"
    assert ["error" in clip for clip in clips] == [True, True, True, False]
    assert told == f"warning: --pose {tmp_path / 'pose.onnx'} is not used: {bundle.system} reads no keypoints\n"


def test_it_is_explained_over_the_pictures_that_it_saw(bundle: Bundle) -> None:
    clip = Clip(name="square", keypoints=np.zeros((NUM_FRAMES, 0, 3), np.float32), frames=Pictures(array=moving_square()), frame_size=STORED, fps=25.0)
    network = bundle.network()
    explanation = explain(bundle, network, clip, names=["C", "A"])
    assert explanation.pictures is not None
    assert explanation.pictures.shape == (NUM_FRAMES, SIZE, SIZE, 3)
    assert explanation.points is None
    for sign in explanation.signs:
        assert sign.saliency.shape == (NUM_FRAMES, 2, 2)
        assert np.isfinite(sign.saliency).all()
    layers = [layer for layer in drawable_layers(bundle, network, clip) if layer.startswith("backbone")]
    assert explanation.layer in layers
    finer = explain(bundle, network, clip, names=["C"], layer=layers[0])
    assert min(finer.signs[0].saliency.shape[1:]) >= 16
    with pytest.raises(LayerError, match=r"no layer 'temporal' of .* has places to draw: the nearest is"):
        explain(bundle, network, clip, names=["C"], layer="temporal")


def test_a_slide_and_a_film_are_made(bundle: Bundle, film: Path, tmp_path: Path) -> None:
    explain_main(["--bundle", str(bundle.folder), str(film), "--gloss", "B", "--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "film.png"]


def test_a_real_recording_is_recognised(bundle: Bundle, shared_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By random weights: what is answered means nothing."""
    status, (clip,), _ = answers(bundle, capsys, shared_folder / "data/real_samples/video/phoenix14t_excerpt_16f_mpeg4.mp4")
    assert (status, clip["num_frames"], clip["fps"]) == (0, 16, 25.0)
