"""The slide and the film of an explanation, from files and shards, of sentences, signs and ensembles; logging to a run; every mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from cluster.sender import connect_client, embedded_uri
from cluster.spool import Spool
from cluster.tracking import MlflowTracker
from models.bundle import Bundle
from models.ensemble import save_ensemble
from models.errors import BundleError, RecipeError, RecordingError, SignrayError
from models.explanation import ExplainedSign, Explanation, explain
from models.inputs.frames import Pictures
from tests.unit.models.translation.bundles import save_translator
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import save_tiny_sign_bundle, tiny_sign_clip
from tests.unit.workloads.corpora_on_disk import keypoints, write_npz
from tests.unit.workloads.tiny_shards import write_tiny_shards
from workloads.explain import main, write_explanation
from workloads.explaining import film
from workloads.explaining.film import PICTURE, SIZE, film_frames
from workloads.explaining.overlay import HEIGHT, Painter
from workloads.explaining.slide import contact_cells
from workloads.explaining.tracked import log_files

NUM_FRAMES = 16


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", tiny_network(scale=30))


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_sign_bundle(tmp_path_factory.mktemp("signs") / "bundle")


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_npz(tmp_path_factory.mktemp("clip") / "a clip.npz", keypoints(NUM_FRAMES))


def explained(bundle: Bundle, **facts: Any) -> Explanation:
    return explain(bundle, bundle.network(), tiny_clip(num_frames=NUM_FRAMES, **facts))


def with_pictures(num_frames: int = NUM_FRAMES, *, cause: tuple[int, int] = (1, 5)) -> Explanation:
    """An explanation of a network that saw grey pictures of 60 × 40, all of it at one place of a map of 4 × 6 in one frame."""
    saliency = np.zeros((num_frames, 4, 6), np.float32)
    saliency[2, cause[0], cause[1]] = 1
    posteriors = np.full((num_frames // 4, 4), 0.1, np.float32)
    posteriors[0, 2] = 0.7
    return Explanation(
        clip=tiny_clip(num_frames=num_frames),
        system="corrnet",
        head="sequence",
        classes=("<blank>", "<pad>", "KÜSTE", "WIND"),
        posteriors=posteriors,
        step_frames=np.arange(num_frames // 4) * 4 + 1.5,
        frames=np.arange(num_frames),
        signs=(ExplainedSign(name="KÜSTE", index=2, confidence=0.7, steps=(0, 1), saliency=saliency),),
        layer="backbone.layer4",
        points=None,
        pictures=np.full((num_frames, 40, 60, 3), 128, np.uint8),
    )


def test_a_file_becomes_a_slide_and_a_film(bundle: Bundle, clip_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--bundle", str(bundle.folder), str(clip_file), "--out", str(tmp_path)])
    slide = cv2.imread(str(tmp_path / "a_clip.png"))
    assert slide is not None
    assert slide.shape == (900, 1600, 3)
    assert len(np.unique(slide.reshape(-1, 3), axis=0)) > 50
    with av.open(str(tmp_path / "a_clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.width, stream.codec_context.height) == ("h264", *SIZE)
        assert stream.average_rate == 25
        assert sum(1 for _ in container.decode(stream)) == NUM_FRAMES
    told = capsys.readouterr().out
    assert told.endswith(f"{tmp_path / 'a_clip.png'}, {tmp_path / 'a_clip.mp4'} written\n")


def test_a_clip_of_shards_is_found_by_its_name(bundle: Bundle, tmp_path: Path) -> None:
    write_tiny_shards(tmp_path)
    given = ["--bundle", str(bundle.folder), "--shards", str(tmp_path / "shards"), "--out", str(tmp_path), "--no-film"]
    main([*given, "test/3"])
    assert (tmp_path / "3.png").is_file()
    assert not (tmp_path / "3.mp4").exists()
    with pytest.raises(RecordingError, match=r"no clip 'test/333' in .*shards, which has 40; the nearest is 'test/33'"):
        main([*given, "test/333"])
    with pytest.raises(RecordingError, match=r"no clip 'test/3' in split dev of .*; the nearest is 'dev/0'"):
        main([*given, "test/3", "--split", "dev"])


def test_layers_are_listed(bundle: Bundle, clip_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--bundle", str(bundle.folder), str(clip_file), "--list-layers"])
    assert "streams.body.blocks.1  1 × 8 × 4 × 80\n" in capsys.readouterr().out


def test_of_an_ensemble_one_member_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {name: save_tiny_sign_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("joint", "bone"))}
    ensemble = save_ensemble(tmp_path / "both", members, {"joint": 1.0, "bone": 2.0}, metrics={}, provenance={})
    file = write_npz(tmp_path / "sign.npz", tiny_sign_clip(num_frames=12).keypoints, size=(512, 512))
    given = ["--bundle", str(ensemble.folder), str(file), "--no-film", "--out", str(tmp_path)]
    answers = []
    for chosen in ([], ["--member", "bone"], ["--member", "joint"]):
        main([*given, *chosen])
        answers.append(capsys.readouterr().out.splitlines()[0])
    assert answers[0] == answers[1]
    with pytest.raises(BundleError, match=r"--member nose: no member of .*both; there are joint, bone"):
        main([*given, "--member", "nose"])
    with pytest.raises(BundleError, match=r"--member bone: .* is one network"):
        main(["--bundle", str(tmp_path / "joint"), str(file), "--member", "bone"])


def test_files_are_logged_to_a_run(clip_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a network that translates, the text's too. Some seconds: MLflow makes its tables."""
    bundle = save_translator(tmp_path / "translator")
    tracker = MlflowTracker(tmp_path / "run", experiment="signs", store=tmp_path, interval_s=60)
    tracker.close()
    command = ["--bundle", str(bundle.folder), str(clip_file), "--gloss", "REGEN", "--no-film"]
    main([*command, "--out", str(tmp_path), "--run", str(tmp_path / "run")])
    assert capsys.readouterr().out.endswith(f"logged to run {tracker.run_id}, in explanations/\n")
    client = connect_client(embedded_uri(tmp_path))
    assert [item.path for item in client.list_artifacts(tracker.run_id, "explanations")] == [f"explanations/a_clip{kind}.png" for kind in ("", "_text")]
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_what_cant_be_sent_waits_in_the_run(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "run" / "tracking")
    spool.append(
        "create", {"tracking_uri": "sqlite:////nowhere/at/all/mlflow.db", "experiment": "e", "artifact_location": None, "id": "1", "name": "r", "tags": {}}
    )
    (tmp_path / "slide.png").write_bytes(b"png")
    with spool.sending():
        assert log_files(tmp_path / "run", [tmp_path / "slide.png"]) == f"logged to {tmp_path / 'run'}, whose training sends it to MLflow"
    assert [record.kind for record in spool.read()] == ["create", "artifact"]


def test_every_mistake_is_one_line(bundle: Bundle, clip_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["--bundle", str(bundle.folder), "--out", str(tmp_path)]
    with pytest.raises(RecordingError, match=r"nothing.npz: no such keypoint file"):
        main([*given, "nothing.npz"])
    with pytest.raises(BundleError, match=r"--head nose: no head of mska_slr; there are ensemble, left"):
        main([*given, str(clip_file), "--head", "nose"])
    with pytest.raises(RecipeError, match=r"--run .*: no tracked run: give the folder that training names"):
        main([*given, str(clip_file), "--run", str(tmp_path)])
    monkeypatch.setattr(film, "find_spec", lambda name: None)
    with pytest.raises(SignrayError, match=r"the extra 'video': pip install 'signray\[video\]' \(or --no-film\)"):
        main([*given, str(clip_file)])
    assert not list(tmp_path.iterdir())


def test_heat_lies_where_it_was_found() -> None:
    painter = Painter(explanation=with_pictures())
    assert painter.size == (720, HEIGHT)
    hot, cold = painter.paint(2).astype(int), painter.paint(3)
    assert (cold == 128).all()
    changed = np.abs(hot - 128).sum(2)
    row, column = np.unravel_index(int(changed.argmax()), changed.shape)
    assert (row * 4 // HEIGHT, column * 6 // 720) == (1, 5)
    assert changed[-100:, :100].max() == 0


def test_a_film_of_pictures_shows_them_and_moves_its_hand(tmp_path: Path) -> None:
    explanation = with_pictures()
    frames = list(film_frames(explanation, about="network"))
    assert len(frames) == NUM_FRAMES
    assert {frame.shape for frame in frames} == {(SIZE[1], SIZE[0], 3)}
    left, top, width, height = PICTURE
    assert (frames[5][top + height // 2, left + width // 2] == 128).all()
    hands = [int(np.flatnonzero((frame[620] == (31, 36, 48)).all(1)).mean()) for frame in frames]
    assert hands == sorted(set(hands))
    assert [path.suffix for path in write_explanation(explanation, tmp_path, about="network")] == [".png", ".mp4"]


def test_cells_are_shared_among_the_glosses(bundle: Bundle, signs: Bundle) -> None:
    explanation = explained(bundle)
    cells = contact_cells(explanation)
    assert list(dict.fromkeys(sign for sign, _ in cells)) == list(range(len(explanation.signs)))
    assert all(0 <= frame < NUM_FRAMES for _, frame in cells)
    sign = explain(signs, signs.network(), tiny_sign_clip(num_frames=12))
    frames = [frame for _, frame in contact_cells(sign)]
    assert frames == sorted(set(frames))
    assert 1 < len(frames) <= 7


def test_a_skeleton_is_drawn_over_its_picture(bundle: Bundle) -> None:
    plain = Painter(explanation=explained(bundle)).paint(4)
    pictures = np.full((NUM_FRAMES, 50, 100, 3), 200, np.uint8)  # half the size that the keypoints count in
    over = Painter(explanation=explained(bundle, frames=Pictures(array=pictures))).paint(4)
    assert plain.shape == over.shape
    assert (np.median(plain, axis=(0, 1)) == (24, 26, 32)).all()
    assert np.abs(np.median(over, axis=(0, 1)) - 90).max() <= 1 or (over == 90).any()


def test_clips_without_fps_count_frames(bundle: Bundle, signs: Bundle, tmp_path: Path) -> None:
    files = write_explanation(explained(bundle, fps=None), tmp_path, about="network", film=False)
    assert files[0].stat().st_size > 10_000
    sign = explain(signs, signs.network(), tiny_sign_clip(num_frames=12, fps=None, name="sign", label="HAUS"))
    assert [path.name for path in write_explanation(sign, tmp_path, about="network")] == ["sign.png", "sign.mp4"]
