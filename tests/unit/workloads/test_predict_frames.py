"""Prediction of videos and folders of pictures by a bundle that looks at pictures: a tiny CorrNet with random weights."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, DecodingOptions
from models.vac.inputs import FrameInputs
from models.vocabulary import SPECIALS, Vocabulary
from tests.unit.models.media.test_pictures import write_pictures
from tests.unit.models.media.videos import numbered, write_video
from tests.unit.models.vac.tiny import NUM_CLASSES, SIZE, tiny
from tests.unit.shared_data import SHARED, needs_real_samples
from tests.unit.tiny import save_tiny_bundle
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from workloads.frame_encoding import FrameOptions
from workloads.part_runners import in_this_process
from workloads.predict import main
from workloads.preprocess import PreprocessOptions, preprocess

VOCABULARY = Vocabulary(entries=(*SPECIALS, *(f"G{number}" for number in range(NUM_CLASSES - len(SPECIALS)))))
SENTENCE = "09April_2010_Friday_tagesschau-7631"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    network = tiny("corrnet")
    return save_tiny_bundle(
        tmp_path_factory.mktemp("bundle") / "bundle",
        system="corrnet",
        options=network.options,
        inputs=FrameInputs(size=SIZE + 8, crop=SIZE),
        state_dict=network.state_dict(),
        classes=VOCABULARY,
        decoding=DecodingOptions(head="sequence"),
    )


def predicted(bundle: Bundle, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    status = main(["--bundle", str(bundle.folder), "--format", "json", *map(str, arguments)])
    return status, json.loads(capsys.readouterr().out)["clips"]


def test_videos_and_folders_are_recognised_among_what_cannot_be(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8)
    folder = write_pictures(tmp_path / "folder", pictures)
    video = write_video(tmp_path / "a.avi", pictures, codec="ffv1")
    (tmp_path / "text.mp4").write_text("no video at all")
    points = write_npz(tmp_path / "a.npz", keypoints(20))
    status, clips = predicted(bundle, capsys, folder, video, tmp_path / "text.mp4", points)
    assert status == 1
    assert [clip.get("num_frames") for clip in clips] == [20, 20, None, None]
    assert [clip.get("fps") for clip in clips[:2]] == [None, 25.0]
    assert "is no video" in clips[2]["error"]
    assert "needs pictures" in clips[3]["error"]
    shards = preprocess(
        PreprocessOptions(
            corpus="manifest",
            source=write_manifest(tmp_path / "list.csv", [{"name": "a", "path": "folder"}]),
            out=tmp_path / "out",
            frames=FrameOptions(encoding="png"),
        ),
        in_this_process,
    ).shards
    (answer,) = bundle.recogniser().recognise(shards.rows("test", modalities=bundle.modalities))
    assert list(answer.answer.words) == clips[0]["sentence"].split()


def test_a_manifest_of_videos(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.mp4", numbered(20))
    manifest = write_manifest(tmp_path / "list.csv", [{"name": "mine", "path": "a.mp4", "fps": 50}, {"name": "gone", "path": "b.mp4"}])
    status, clips = predicted(bundle, capsys, "--manifest", manifest)
    assert status == 1
    answered = {clip["name"]: clip for clip in clips}
    assert (answered["mine"]["num_frames"], answered["mine"]["fps"]) == (20, 50)
    assert "missing file" in answered["gone"]["error"]


@needs_real_samples
def test_the_real_sentence_as_video_and_as_pictures(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(SHARED / "real_samples" / "frames" / f"phoenix14t_{SENTENCE}.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "PHOENIX-2014-T" / "features" / "fullFrame-210x260px" / "train" / SENTENCE
    status, clips = predicted(bundle, capsys, folder, SHARED / "real_samples" / "video" / f"phoenix14t_{SENTENCE}.mp4")
    assert status == 0
    assert [clip["num_frames"] for clip in clips] == [132, 132]


@needs_real_samples
def test_real_clips_of_every_size_codec_and_rate(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Portrait, 1920 × 1080, MPEG-4, a phone's 29.92 frames a second. By random weights: what is answered means nothing."""
    videos = sorted((SHARED / "real_samples" / "video").glob("*.mp4"))
    status, clips = predicted(bundle, capsys, *videos)
    assert status == 0
    seen = {Path(clip["name"]).name: (clip["num_frames"], round(clip["fps"], 2)) for clip in clips}
    assert len(seen) == len(videos) == 11
    assert seen["wlasl_brother_1.mp4"] == (52, 25)
    assert seen["wlasl_mother_3.mp4"] == (70, 25)
    assert seen["webcam_hand_58f.mp4"] == (58, 29.92)
    assert seen["phoenix14t_excerpt_16f_mpeg4.mp4"] == (16, 25)
    for clip in clips:
        assert all(0 <= gloss["start_frame"] < gloss["end_frame"] <= clip["num_frames"] + 1 for gloss in clip["glosses"])
