"""Prediction: keypoint files and manifests in, glosses with times out; a bad file is answered by its error beside the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import BundleError, CorpusError, VocabularyError
from tests.unit.shared_data import SHARED, needs_real_keypoints
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.workloads.corpora_on_disk import keypoints, write_manifest, write_npz
from tests.unit.workloads.undecided import save_undecided_bundle, write_language_model
from workloads.predict import main
from workloads.preprocess import PreprocessOptions, preprocess


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    return save_tiny_bundle(folder, tiny_network(scale=30), samples=[tiny_clip("sample", num_frames=32, glosses=("HAUS",))])


def predicted(bundle: Bundle, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    status = main(["--bundle", str(bundle.folder), "--format", "json", *map(str, arguments)])
    return status, json.loads(capsys.readouterr().out)["clips"]


def test_a_sample_of_the_bundle_is_recognised(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    (sample,) = (bundle.folder / "samples").iterdir()
    status, (clip,) = predicted(bundle, capsys, sample)
    expected = next(bundle.recogniser().recognise(bundle.samples()))
    assert status == 0
    assert (clip["name"], clip["head"], clip["fps"], clip["num_frames"]) == (str(sample), "ensemble", 25.0, 32)
    assert clip["sentence"].split() == [gloss["gloss"] for gloss in clip["glosses"]] == list(expected.answer.words) != []
    for gloss in clip["glosses"]:
        assert 0 <= gloss["start_frame"] < gloss["end_frame"] <= 32
        assert (gloss["start_s"], gloss["end_s"]) == (gloss["start_frame"] / 25, gloss["end_frame"] / 25)
        assert 0 < gloss["confidence"] <= 1
    assert clip["confidence"] == pytest.approx(expected.confidence, abs=1e-4)
    assert clip["low_confidence"] == (clip["confidence"] < 0.5)


def test_a_mistake_leaves_the_file_of_an_earlier_answer(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text("precious")
    with pytest.raises(BundleError, match="--head nope"):
        main(["--bundle", str(bundle.folder), "--head", "nope", "--out", str(tmp_path / "answers.json"), *map(str, (bundle.folder / "samples").iterdir())])
    assert (tmp_path / "answers.json").read_text() == "precious"


def test_bad_files_are_answered_among_the_good(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points = keypoints(16)
    broken = points.copy()
    broken[5, 0, 1] = np.nan
    (tmp_path / "video.mp4").write_bytes(b"")
    (tmp_path / "text.npz").write_text("hello")
    files = {
        write_npz(tmp_path / "good.npz", points): None,
        write_npz(tmp_path / "count.npz", points[:, :75]): "wrong keypoint count: 75 points found, 133 expected",
        write_npz(tmp_path / "nan.npz", broken): "NaN or infinite keypoints: 1 values, the first in frame 5",
        write_npz(tmp_path / "short.npz", points[:3]): "too short: 3 frames found, at least 4 needed",
        tmp_path / "video.mp4": f"needs keypoints: {tmp_path / 'video.mp4'} is a video",
        tmp_path: f"needs keypoints: {tmp_path} is a folder",
        tmp_path / "text.npz": f"{tmp_path / 'text.npz'}: not a readable .npz file",
        tmp_path / "nothing.npz": f"{tmp_path / 'nothing.npz'}: no such keypoint file",
        write_npz(tmp_path / "size.npz", points, size=None): "frame size unknown",
        write_npz(tmp_path / "last.npz", points): None,
    }
    status, clips = predicted(bundle, capsys, *files)
    assert status == 1
    assert [clip["name"] for clip in clips] == [str(file) for file in files]
    for clip, message in zip(clips, files.values(), strict=True):
        if message is None:
            assert "error" not in clip
        else:
            assert clip["error"].startswith(message)
            assert "\n" not in clip["error"]
    assert {**clips[0], "name": ""} == {**clips[-1], "name": ""}


def test_frame_size_and_fps_can_be_given(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = write_npz(tmp_path / "bare.npz", keypoints(16), size=None, fps=None)
    full = write_npz(tmp_path / "full.npz", keypoints(16))
    _, (expected,) = predicted(bundle, capsys, full)
    status, (clip,) = predicted(bundle, capsys, bare, "--frame-size", "210x260", "--fps", "25")
    assert (status, {**clip, "name": ""}) == (0, {**expected, "name": ""})
    _, (untimed,) = predicted(bundle, capsys, bare, "--frame-size", "210x260")
    assert {(gloss["start_s"], gloss["end_s"]) for gloss in untimed["glosses"]} == {(None, None)}
    with pytest.raises(SystemExit):
        main(["--bundle", str(bundle.folder), str(bare), "--frame-size", "210"])
    assert "'210' is not WIDTHxHEIGHT" in capsys.readouterr().err


def test_a_manifest_is_answered_by_names_line_by_line(bundle: Bundle, tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", keypoints(16), size=None)
    manifest = write_manifest(
        tmp_path / "clips.csv", [{"name": "first", "path": "a.npz", "width": 210, "height": 260, "fps": 50}, {"name": "second", "path": "b.npz"}]
    )
    out = tmp_path / "new" / "answers.jsonl"
    assert main(["--bundle", str(bundle.folder), "--manifest", str(manifest), "--format", "jsonl", "--out", str(out), "--head", "body"]) == 1
    clips = {clip["name"]: clip for clip in map(json.loads, out.read_text().splitlines())}
    assert (clips["first"]["head"], clips["first"]["fps"]) == ("body", 50.0)
    assert clips["second"]["error"].startswith("missing file")


def test_the_table_is_for_people(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    write_npz(Path("good.npz"), keypoints(16))
    assert main(["--bundle", str(bundle.folder), "good.npz", "lost.npz"]) == 1
    printed = capsys.readouterr().out
    for expected in ("good.npz", "confidence", "0.00 s", "error: lost.npz: no such keypoint file"):
        assert expected in printed


def test_mistakes_are_named(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nothing to recognise"):
        main(["--bundle", str(bundle.folder)])
    with pytest.raises(CorpusError, match=r"clips.csv: a table of clips is given by --manifest clips.csv"):
        main(["--bundle", str(bundle.folder), "a.npz", "clips.csv"])
    with pytest.raises(BundleError, match="--head nose: no head"):
        main(["--bundle", str(bundle.folder), "a.npz", "--head", "nose"])
    with pytest.raises(CorpusError, match=r"clips.csv: can't be read"):
        main(["--bundle", str(bundle.folder), "--manifest", str(tmp_path / "clips.csv")])
    with pytest.raises(BundleError, match="no such bundle"):
        main(["--bundle", str(tmp_path / "nowhere"), "a.npz"])
    with pytest.raises(VocabularyError, match="hot word 'REGN' is no gloss of the vocabulary; the nearest is 'REGEN'"):
        main(["--bundle", str(bundle.folder), "a.npz", "--hot-word", "REGN"])


def test_language_model_and_hot_words_decide_what_the_network_leaves_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = save_undecided_bundle(tmp_path / "bundle")
    clip = write_npz(tmp_path / "clip.npz", keypoints(4))
    model = write_language_model(tmp_path / "glosses.arpa", HAUS=-2.0, MORGEN=-2.0, REGEN=-0.1, SONNE=-2.0)

    def sentence(*arguments: str | Path) -> str:
        status, (answer,) = predicted(bundle, capsys, clip, *arguments)
        assert status == 0
        return str(answer["sentence"])

    assert [sentence(*chosen) for chosen in ((), ("--decoder", "prefix_beam"), ("--decoder", "greedy"))] == ["HAUS"] * 3
    assert sentence("--lm", model) == "REGEN"
    assert sentence("--lm", model, "--alpha", "0") == "HAUS"
    assert sentence("--hot-word", "REGEN=0.3") == "REGEN"
    assert sentence("--hot-word", "REGEN=0.1") == "HAUS"
    assert sentence("--lm", model, "--hot-word", "HAUS=9") == "HAUS"


@needs_real_keypoints
def test_real_signing_goes_from_one_manifest_through_preprocess_and_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both read the manifest, so a clip is answered alike from its shard; a network that has not learned is of low confidence."""
    bundle = save_tiny_bundle(tmp_path / "bundle")
    names = ["asl_soup_mmpose133", "asl_football_mmpose133", "asl_soup_openpifpaf133"]
    files = [SHARED / "real_samples" / "keypoints" / f"{name}.npz" for name in names]
    manifest = write_manifest(tmp_path / "list.csv", [{"name": name, "path": file} for name, file in zip(names, files, strict=True)])
    shards = preprocess(PreprocessOptions(corpus="manifest", source=manifest, out=tmp_path / "shards")).shards
    status, clips = predicted(bundle, capsys, "--manifest", manifest)
    assert status == 0
    assert [(clip["name"], clip["num_frames"]) for clip in clips] == list(zip(names, (41, 62, 41), strict=True))
    assert all(clip["low_confidence"] and clip["confidence"] < 0.5 for clip in clips)
    sharded = {recognition.name: recognition for recognition in bundle.recogniser().recognise(list(shards.rows("test")))}
    for clip in clips:
        assert clip["sentence"].split() == list(sharded[clip["name"]].answer.words)
        assert clip["confidence"] == pytest.approx(sharded[clip["name"]].confidence, abs=1e-3)
    status, single = predicted(bundle, capsys, *files)
    assert [{**clip, "name": name} for clip, name in zip(single, names, strict=True)] == clips
