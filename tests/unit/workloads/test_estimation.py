"""Videos and folders of pictures become clips: keypoints estimated on the way, other estimators warned about, every refusal in one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from models.bundle import Bundle, CorpusCard
from models.errors import CorpusError, PoseModelError, RecordingError, ShardError
from models.media import read_frames, read_keypoints
from models.pose import pose_estimator
from tests.unit.models.media.videos import write_video
from tests.unit.models.tiny_onnx import dots, write_detector, write_pose_model
from tests.unit.tiny import save_tiny_bundle, tiny_network
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from workloads import explain, predict, preprocess
from workloads.bundles import corpus_card
from workloads.estimation import extractor_warning
from workloads.evaluate import evaluate
from workloads.shards import ShardSet

SIZE = (64, 48)
NUM_FRAMES = 20


def pictures() -> np.ndarray:
    steps = np.arange(NUM_FRAMES)[:, None, None]
    return dots(np.array([[12, 12], [30, 30], [50, 14]]) + steps * np.array([[1, 0.5], [0, -0.5], [-1, 1]]), SIZE)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("film") / "film.mp4", pictures())


@pytest.fixture(scope="module")
def pose_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pose_model(tmp_path_factory.mktemp("pose") / "rtmw.onnx")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", tiny_network(scale=30))


def answers(bundle: Bundle, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict], str]:
    status = predict.main(["--bundle", str(bundle.folder), "--format", "json", *map(str, arguments)])
    told = capsys.readouterr()
    return status, json.loads(told.out)["clips"], told.err


def test_a_video_and_its_pictures_are_recognised_by_estimated_keypoints(
    bundle: Bundle, film: Path, pose_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    opened = read_frames(film)
    for number, picture in enumerate(opened.frames.decode(np.arange(NUM_FRAMES))):
        cv2.imwrite(str(tmp_path / "frames" / f"{number}.png"), picture[..., ::-1])
    estimator = pose_estimator(pose_file)
    estimated = estimator.estimate(opened.frames)
    np.savez(tmp_path / "points.npz", keypoints=estimated, frame_size=SIZE, fps=25.0, extractor=np.array(estimator.extractor))
    status, clips, told = answers(bundle, capsys, film, tmp_path / "frames", tmp_path / "points.npz", "--pose", pose_file)
    assert status == 0
    assert [clip["num_frames"] for clip in clips] == [NUM_FRAMES] * 3
    assert [clip["fps"] for clip in clips] == [25.0, None, 25.0]
    assert clips[0]["sentence"]
    assert len({(clip["sentence"], clip["confidence"]) for clip in clips}) == 1
    assert clips[0]["glosses"] == clips[2]["glosses"]
    assert told.count("warning") == 1  # of one estimator, once
    assert f"{film}: keypoints by {estimator.extractor}, and the network learned from keypoints whose estimator it doesn't name: expect more errors" in told
    assert answers(bundle, capsys, tmp_path / "frames", "--pose", pose_file, "--fps", "25")[1][0]["glosses"] == clips[0]["glosses"]


def test_the_estimator_that_a_network_learned_from_is_no_surprise(film: Path, pose_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = CorpusCard(name="synthetic", extractors=(pose_estimator(pose_file).extractor,))
    bundle = save_tiny_bundle(tmp_path / "bundle", corpus=corpus)
    assert answers(bundle, capsys, film, "--pose", pose_file)[2] == ""
    plain = write_npz(tmp_path / "plain.npz", keypoints(16))
    assert answers(bundle, capsys, plain)[2] == ""  # nobody knows
    assert "extractors" in (bundle.folder / "bundle.json").read_text()


def test_other_estimators_are_named() -> None:
    assert extractor_warning([], ["a@1"], where="x") is None
    assert extractor_warning(["a@1"], ["a@1", "b@2"], where="x") is None
    told = extractor_warning(["c@3", "a@1"], ["a@1"], where="x.npz")
    assert told == "warning: x.npz: keypoints by c@3, and the network learned from keypoints by a@1: expect more errors"


def test_a_film_is_explained_over_its_pictures(bundle: Bundle, film: Path, pose_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    explain.main(["--bundle", str(bundle.folder), str(film), "--pose", str(pose_file), "--out", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"film.png", "film.mp4"}


def test_a_real_recording_goes_all_the_way(bundle: Bundle, pose_file: Path, shared_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The pose model looks for coloured dots, so the answer means nothing; times and lengths do."""
    films = [shared_folder / "data/real_samples/video" / name for name in ("phoenix14t_excerpt_36f.mp4", "phoenix14t_excerpt_16f_mpeg4.mp4")]
    status, clips, _ = answers(bundle, capsys, *films, "--pose", pose_file)
    assert status == 0
    assert [(clip["num_frames"], clip["fps"]) for clip in clips] == [(36, 25.0), (16, 25.0)]


def test_mistakes_are_one_line(bundle: Bundle, film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.mp4").write_bytes(film.read_bytes()[:300])
    (tmp_path / "folder").mkdir()
    with pytest.raises(PoseModelError, match=r"nothing\.onnx: no such pose model: fetch https://.*end2end\.onnx there$"):
        predict.main(["--bundle", str(bundle.folder), str(film), "--pose", str(tmp_path / "nothing.onnx")])
    with pytest.raises(CorpusError, match=r"--detector yolox\.onnx goes with --pose MODEL\.onnx"):
        predict.main(["--bundle", str(bundle.folder), str(film), "--detector", "yolox.onnx"])
    status, clips, _ = answers(bundle, capsys, film)
    assert status == 1
    assert clips[0]["error"] == f"needs keypoints: {film} is a video; give a pose model with --pose, or the signer's keypoints as .npz or .pose"
    pose_file = write_pose_model(tmp_path / "pose.onnx")
    status, clips, _ = answers(bundle, capsys, tmp_path / "broken.mp4", tmp_path / "folder", film, tmp_path / "none.mp4", "--pose", pose_file)
    assert status == 1
    assert ["error" in clip for clip in clips] == [True, True, False, True]
    assert all("\n" not in clip.get("error", "") for clip in clips)


def test_a_keypoint_files_estimator_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=keypoints(8), extractor=np.array("rtmw@123"))
    assert read_keypoints(tmp_path / "a.npz").extractor == "rtmw@123"
    assert read_keypoints(write_npz(tmp_path / "b.npz", keypoints(8))).extractor is None
    np.savez(tmp_path / "c.npz", keypoints=keypoints(8), extractor=np.arange(3))
    with pytest.raises(RecordingError, match=r"c\.npz: 'extractor' must be one text, the estimator's name and version, not int64 \(3,\)$"):
        read_keypoints(tmp_path / "c.npz")


def filmed_shards(folder: Path, film: Path, *arguments: str | Path) -> ShardSet:
    """Shards of a manifest of the film, three times, and of one keypoint file that doesn't say who made it."""
    points = write_npz(folder / "points.npz", keypoints(16), size=SIZE)
    rows = [{"name": f"film{number}", "path": str(film), "split": split, "gloss": "HAUS"} for number, split in enumerate(("train", "dev", "test"))]
    write_manifest(folder / "clips.csv", [*rows, {"name": "points", "path": str(points), "split": "test", "gloss": "HAUS"}])
    preprocess.main(["--corpus", "manifest", "--source", str(folder / "clips.csv"), "--out", str(folder / "shards"), "--in-process", *map(str, arguments)])
    return ShardSet.open(folder / "shards")


def test_shards_of_films_get_keypoints_and_the_name_of_who_made_them(bundle: Bundle, film: Path, pose_file: Path, tmp_path: Path) -> None:
    shards = filmed_shards(tmp_path, film, "--pose", pose_file)
    estimator = pose_estimator(pose_file)
    (clip,) = shards.rows("dev")
    np.testing.assert_array_equal(clip.keypoints, estimator.estimate(read_frames(film).frames))
    assert clip.frame_size == SIZE
    assert shards.corpus.extractors == {estimator.extractor: 3}
    assert pq.read_table(tmp_path / "shards/test/part-00000.parquet", columns=["extractor"])["extractor"].to_pylist() == [estimator.extractor, None]
    assert corpus_card(shards).extractors == (estimator.extractor,)
    made = save_tiny_bundle(tmp_path / "bundle", corpus=corpus_card(shards))
    assert f"- Keypoints estimated by: {estimator.extractor}" in (made.folder / "README.md").read_text()
    assert made.corpus.extractors == (estimator.extractor,)


def test_keypoints_follow_a_crop_and_a_rate(film: Path, pose_file: Path, tmp_path: Path) -> None:
    shards = filmed_shards(tmp_path, film, "--pose", pose_file, "--crop", "4,8,60,48", "--fps", "12.5")
    (clip,) = shards.rows("dev", modalities=("frames", "keypoints"))
    whole = pose_estimator(pose_file).estimate(read_frames(film).frames)
    np.testing.assert_allclose(clip.keypoints, whole[::2] - [4, 8, 0], atol=1e-4)
    assert clip.frames is not None
    assert clip.frames.num_frames == clip.num_frames == NUM_FRAMES // 2


def test_keypoints_alone_may_be_kept(film: Path, pose_file: Path, tmp_path: Path) -> None:
    shards = filmed_shards(tmp_path, film, "--pose", pose_file, "--no-frames")
    assert shards.corpus.modalities == ("keypoints",)
    assert [clip.num_frames for clip in shards.rows("test")] == [NUM_FRAMES, 16]


def test_a_clip_without_a_signer_is_rejected_with_its_reason(film: Path, pose_file: Path, tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "yolox.onnx", np.array([[0, 0, 9, 9, 0.1]]), [0])
    filmed_shards(tmp_path, film, "--pose", pose_file, "--detector", detector)
    rejected = [json.loads(line)["reason"] for line in (tmp_path / "shards/rejected.jsonl").read_text().splitlines()]
    assert rejected == ["unreadable file: nobody found in 8 frames by yolox.onnx"] * 3


def test_preprocessing_tells_of_pose_models_that_do_nothing_or_are_mixed(
    film: Path, pose_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", keypoints=keypoints(16), frame_size=SIZE, extractor=np.array("other@1"))
    write_manifest(tmp_path / "clips.csv", [{"name": "a", "path": "a.npz"}])
    given = ["--corpus", "manifest", "--source", str(tmp_path / "clips.csv"), "--in-process", "--pose", str(pose_file)]
    preprocess.main([*given, "--out", str(tmp_path / "unused")])
    assert "warning: --pose was not used: no recording is filmed without keypoints, rtmw@" in capsys.readouterr().out
    write_manifest(tmp_path / "clips.csv", [{"name": "a", "path": "a.npz"}, {"name": "b", "path": str(film)}])
    preprocess.main([*given, "--out", str(tmp_path / "mixed")])
    assert "warning: keypoints of 2 estimators are mixed: other@1 (1), rtmw@" in capsys.readouterr().out


def test_evaluation_warns_of_another_estimator(bundle: Bundle, film: Path, pose_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = filmed_shards(tmp_path, film, "--pose", pose_file)
    extractor = pose_estimator(pose_file).extractor
    evaluate(bundle, shards, "test")
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"warning: {shards.path}: keypoints by {extractor}, and the network learned from keypoints whose estimator")
    evaluate(save_tiny_bundle(tmp_path / "same", corpus=CorpusCard(name="synthetic", extractors=(extractor,))), shards, "test")
    assert capsys.readouterr().err == ""


def test_shards_made_with_another_pose_model_are_others(film: Path, pose_file: Path, tmp_path: Path) -> None:
    filmed_shards(tmp_path, film, "--pose", pose_file)
    with pytest.raises(ShardError, match="holds shards made with other values of pose"):
        filmed_shards(tmp_path, film)
