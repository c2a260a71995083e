"""Networks of pictures and keypoints behind the service: a video goes in, and the answer is predict's; alone, in one ensemble, and apart from one another."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.bundle import Bundle, DecodingOptions
from models.ensemble import Ensemble, save_ensemble
from models.systems import SYSTEMS
from serve.members import MemberHost
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.unit.models.media.videos import write_video
from tests.unit.models.tiny_onnx import dots, write_pose_model
from tests.unit.models.twostream.test_inputs import CASES, clip
from tests.unit.models.twostream.tiny import _spread
from tests.unit.serve.in_process import code_of, local_api, npz, recognise
from tests.unit.tiny import VOCABULARY, save_tiny_bundle, tiny_clip, tiny_network
from workloads.predict import main as predict


def stream_bundle(folder: Path, case: str) -> Bundle:
    name, network, inputs = CASES[case]
    system = SYSTEMS[name]
    options = system.options.model_validate(network)
    torch.manual_seed(0)
    built = system.build(options, len(VOCABULARY))
    _spread(built, 0)
    head = system.answering[0]
    facts = {"inputs": system.inputs.model_validate(inputs), "state_dict": built.state_dict(), "decoding": DecodingOptions(head=head)}
    return save_tiny_bundle(folder, system=name, options=options, **facts)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streams")


@pytest.fixture(scope="module")
def pose_model(folder: Path) -> Path:
    return write_pose_model(folder / "pose.onnx")


@pytest.fixture(scope="module")
def video(folder: Path) -> Path:
    places = np.array([[[8 + step, 15], [30, 10 + step // 2], [20, 30 - step]] for step in range(16)])
    return write_video(folder / "signing.mp4", dots(places, (40, 40)))


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> Ensemble:
    """A member of keypoints, one of pictures, one of both."""
    members = {"points": save_tiny_bundle(folder / "points", tiny_network(scale=30))}
    members |= {"pictures": stream_bundle(folder / "pictures", "rgb"), "both": stream_bundle(folder / "both", "two")}
    return save_ensemble(folder / "ensemble", members, {"points": 1.0, "pictures": 2.0, "both": 1.0}, metrics={}, provenance={})


def predicted(bundle: Path, video: Path, pose_model: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert predict(["--bundle", str(bundle), "--pose", str(pose_model), "--format", "json", str(video)]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["clips"][0]
    return found


def test_two_streams_answer_a_video(ensemble: Ensemble, video: Path, pose_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = ensemble.members["both"].folder
    app = local_api(bundle, video=True, pose_model=pose_model)
    answer = recognise(app, video.read_bytes(), "video/mp4", name=str(video), keypoints=True).json()
    expected = predicted(bundle, video, pose_model, capsys)
    assert {key: answer[key] for key in expected} == expected
    assert (answer["model"]["takes"], answer["model"]["modalities"]) == (["video"], ["frames", "keypoints"])
    assert answer["keypoints"]["shape"] == [16, 133, 3]
    assert code_of(recognise(app, npz(tiny_clip()))) == (422, "unusable-keypoints")  # its pictures are missing
    blind = local_api(bundle, video=True)
    assert code_of(recognise(blind, video.read_bytes(), "video/mp4")) == (415, "unsupported-media-type")


def test_an_ensemble_of_keypoints_and_pictures_answers_a_video(ensemble: Ensemble, video: Path, pose_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    app = local_api(ensemble.folder, video=True, pose_model=pose_model)
    answer = recognise(app, video.read_bytes(), "video/mp4", name=str(video), heads=True).json()
    expected = predicted(ensemble.folder, video, pose_model, capsys)
    assert {key: answer[key] for key in expected} == expected
    assert list(answer["heads"]) == ["ensemble", "points", "pictures", "both"]
    alone = recognise(app, video.read_bytes(), "video/mp4", members="pictures").json()
    assert alone["sentence"] == answer["heads"]["pictures"]["sentence"]


def test_members_apart_from_one_another_see_pictures_too(ensemble: Ensemble) -> None:
    settings = ServeSettings(bundle=str(ensemble.folder), device="cpu")
    whole, apart = ModelWorker(settings), ModelWorker(settings, [partial(MemberHost.forward, MemberHost(settings)) for _ in range(2)])
    tasks = [Task(clip=clip(num_frames=16, seed=seed), choice=Choice(heads=True)) for seed in range(2)]
    assert [reply.record for reply in apart.answer(tasks)] == [reply.record for reply in whole.answer(tasks)]
    assert all(reply.record for reply in whole.answer(tasks))
