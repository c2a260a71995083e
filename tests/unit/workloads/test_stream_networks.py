"""The TwoStream family from end to end: a film is recognised by pictures, heatmaps or both, explained over what was seen, and translated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.bundle import Bundle, CorpusCard, save_bundle
from models.decoding.options import DecodingOptions
from models.explanation import explain
from models.pose import pose_estimator
from models.s3d.config import S3dOptions
from models.systems import SYSTEMS
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.inputs import SingleStreamInputs, TwoStreamInputs
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream
from models.vocabulary import Vocabulary
from tests.unit.models.media.videos import numbered, write_video
from tests.unit.models.tiny_onnx import write_pose_model
from tests.unit.models.translation.bundles import save_translator
from tests.unit.models.twostream.tiny import HEAD, single, two
from tests.unit.shared_data import SHARED, needs_real_samples
from workloads import predict
from workloads.explain import main as explain_main
from workloads.recorded_clips import listed, read_clip

NUM_FRAMES, SIDE = 12, 64
RGB, MAPS = S3dOptions(width=1 / 16), S3dOptions(in_channels=11, frozen_blocks=0, width=1 / 16)
SEEN = {"side": SIDE, "video_size": (48, 64), "map_size": (48, 64), "parts": ("pose",)}
REAL_FILMS = {"phoenix14t_excerpt_36f.mp4": 36, "webcam_hand_58f.mp4": 58, "wlasl_brother_2.mp4": 68}  # height × width: 260 × 210, 720 × 540, 414 × 736
VOCABULARY = Vocabulary(entries=("<blank>", *"ABCDEFGH"))  # as many as the tiny networks have classes


def parts(name: str) -> tuple[str, SingleStream | TwoStream, SingleStreamInputs | TwoStreamInputs]:
    if name == "both":
        return "twostream_slr", two(TwoStreamOptions(rgb=RGB, keypoint=MAPS, head=HEAD)), TwoStreamInputs.model_validate(SEEN)
    options = SingleStreamOptions.model_validate({"stream": name, "trunk": RGB if name == "rgb" else MAPS, "head": HEAD})
    return "singlestream_slr", single(options), SingleStreamInputs.model_validate(SEEN | {"stream": name})


def saved(name: str, folder: Path) -> Bundle:
    """A bundle of tiny streams."""
    system, network, inputs = parts(name)
    return save_bundle(
        folder,
        system=system,
        options=network.options,
        inputs=inputs,
        state_dict=network.state_dict(),
        classes=VOCABULARY,
        decoding=DecodingOptions(head=SYSTEMS[system].answering[0]),
        corpus=CorpusCard(name="synthetic"),
        metrics={},
        provenance={},
    )


@pytest.mark.parametrize("name", ["rgb", "keypoint", "both"])
def test_a_film_is_recognised_and_explained(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = saved(name, tmp_path / "bundle")
    film, model = write_video(tmp_path / "film.mp4", numbered(NUM_FRAMES)), write_pose_model(tmp_path / "pose.onnx")
    pose = [] if name == "rgb" else ["--pose", str(model)]
    status = predict.main(["--bundle", str(bundle.folder), "--format", "json", str(film), *pose])
    (clip,) = json.loads(capsys.readouterr().out)["clips"]
    assert (status, clip["num_frames"], clip["fps"]) == (0, NUM_FRAMES, 25.0)
    (recording,) = listed([film], None, size=None, fps=None)
    explanation = explain(bundle, bundle.network(), read_clip(recording, bundle.modalities, pose=pose_estimator(model)), names=["B"])  # type: ignore[arg-type]
    side = SIDE // 2 if name == "keypoint" else SIDE  # of heatmaps
    assert explanation.pictures is not None
    assert explanation.pictures.shape == (NUM_FRAMES, side, side, 3)
    assert explanation.pictures.max() > 100
    assert explanation.points is None
    assert explanation.signs[0].saliency.shape == (NUM_FRAMES, side // 16, side // 16)
    explain_main(["--bundle", str(bundle.folder), str(film), "--gloss", "B", "--no-film", "--out", str(tmp_path / "out"), *pose])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["film.png"]


@needs_real_samples
def test_real_films_are_recognised_by_both_streams(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a corpus, a telephone and a dictionary, brought to one size; poses by a model that the test makes."""
    bundle, model = saved("both", tmp_path / "bundle"), write_pose_model(tmp_path / "pose.onnx")
    films = [SHARED / "real_samples" / "video" / name for name in REAL_FILMS]
    status = predict.main(["--bundle", str(bundle.folder), "--format", "json", "--pose", str(model), *map(str, films)])
    clips = json.loads(capsys.readouterr().out)["clips"]
    assert status == 0
    assert [clip["num_frames"] for clip in clips] == list(REAL_FILMS.values())


def test_a_film_is_translated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a video file to a sentence, by the trunk that the published program's checkpoints lack."""
    bundle = save_translator(tmp_path / "bundle", "singlestream_slt", stream="rgb")
    film = write_video(tmp_path / "film.mp4", numbered(NUM_FRAMES))
    status = predict.main(["--bundle", str(bundle.folder), "--format", "json", "--n-best", "2", str(film)])
    (clip,) = json.loads(capsys.readouterr().out)["clips"]
    assert (status, clip["num_frames"]) == (0, NUM_FRAMES)
    assert clip["text"] == clip["texts"][0]["text"]
    assert clip["texts"][0]["score"] > clip["texts"][1]["score"]
    explain_main(["--bundle", str(bundle.folder), str(film), "--gloss", "REGEN", "--no-film", "--out", str(tmp_path / "out")])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.png", "film_text.png"]
