"""Videos: keypoints are estimated in a process of its own, which is killed where it takes too long; damaged ones are never our fault."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.inputs.frames import Pictures
from models.media import parse_video
from models.pose import pose_estimator
from serve.cards import taken
from serve.decoder import VideoDecoder
from serve.settings import ServeSettings
from serve.tasks import Prepared, Upload
from tests.unit.models.media.videos import numbered, write_video
from tests.unit.models.tiny_onnx import dots, write_pose_model
from tests.unit.serve.in_process import call, code_of, local_api, npz, recognise
from tests.unit.serve.seeing import save_seeing_bundle
from tests.unit.serve.test_api import damaged
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from workloads.predict import main as predict

NUM_FRAMES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("video")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return save_tiny_bundle(folder / "bundle", tiny_network(scale=30))


@pytest.fixture(scope="module")
def pose_model(folder: Path) -> Path:
    return write_pose_model(folder / "pose.onnx")


@pytest.fixture(scope="module")
def video(folder: Path) -> bytes:
    places = np.array([[[20 + step, 15], [40, 20 + step // 2], [30, 40 - step]] for step in range(NUM_FRAMES)])
    return write_video(folder / "signing.mp4", dots(places, (64, 48))).read_bytes()


def prepared(settings: ServeSettings, *uploads: Upload) -> list[Prepared]:
    async def prepare() -> list[Prepared]:
        decoder = VideoDecoder(settings)
        try:
            return [await decoder.prepare(upload) for upload in uploads]
        finally:
            await decoder.close()

    return asyncio.run(prepare())


def test_a_video_is_answered_as_its_keypoints_are(bundle: Bundle, pose_model: Path, video: bytes) -> None:
    app = local_api(bundle.folder, video=True, pose_model=pose_model)
    answer = recognise(app, video, "video/mp4", name="me", keypoints=True)
    assert answer.status_code == 200, answer.text
    clip = parse_video(video, "me")
    keypoints = pose_estimator(pose_model).estimate(clip.frames)
    points = np.frombuffer(base64.b64decode(answer.json()["keypoints"]["data"]), "<f4").reshape(NUM_FRAMES, 133, 3)
    assert np.array_equal(points, keypoints)
    by_points = recognise(app, npz(tiny_clip(), keypoints=keypoints, frame_size=np.array([64, 48])), name="me").json()
    different = ("timings", "keypoints")
    assert {key: value for key, value in answer.json().items() if key not in different} == {key: by_points[key] for key in by_points if key != "timings"}
    form = call(app, "POST", "/v1/recognize", files={"file": ("signing.mp4", video)})
    assert (form.json()["sentence"], form.json()["name"]) == (by_points["sentence"], "signing.mp4")
    (model,) = call(app, "GET", "/v1/models").json()["models"]
    assert model["takes"] == ["keypoints", "video"]


def test_frames_come_as_they_are_in_the_video(video: bytes) -> None:
    (found,) = prepared(ServeSettings(bundle="x", video=True), Upload(content=video, name="a", wanted=("frames",), fps=50.0))
    assert found.clip is not None
    assert found.clip.frames is not None
    expected = parse_video(video, "a").frames.decode(range(NUM_FRAMES))
    assert np.array_equal(found.clip.frames.decode(range(NUM_FRAMES)), expected)
    assert (found.clip.keypoints.shape, found.clip.frame_size, found.clip.fps) == ((NUM_FRAMES, 0, 3), (64, 48), 50.0)


def test_a_service_without_an_estimator_takes_no_video(bundle: Bundle, video: bytes) -> None:
    for settings in ({}, {"video": True}):
        refused = recognise(local_api(bundle.folder, **settings), video, "video/mp4")
        assert code_of(refused) == (415, "unsupported-media-type")
    with_pose, without = ServeSettings(bundle="x", video=True, pose_model=Path("p")), ServeSettings(bundle="x", video=True)
    assert [taken(["frames"], without), taken(["frames", "keypoints"], without), taken(["frames", "keypoints"], with_pose)] == [["video"], [], ["video"]]
    assert [taken(["keypoints"], without), taken(["frames"], ServeSettings(bundle="x"))] == [["keypoints"], []]


def test_limits_hold_before_a_video_is_decoded(video: bytes) -> None:
    async def refused(*limits: dict[str, float]) -> list[Prepared]:
        settings = ServeSettings(bundle="x", video=True)
        decoder, found = VideoDecoder(settings), []
        for changes in limits:
            decoder._settings = settings.model_copy(update=changes)
            found.append(await decoder.prepare(Upload(content=video, name="a", wanted=("frames",))))
        await decoder.close()
        return found

    found = asyncio.run(refused({"max_frames": 10}, {"max_pixels": 100}, {"max_seconds": 0.5}, {"max_decoded_bytes": 1000}))
    assert [each.code for each in found] == ["unreadable", "unreadable", "too-large", "too-large"]
    for each in found:
        assert each.clip is None
        assert each.detail.startswith("a: ")
        assert "\n" not in each.detail


def test_what_takes_too_long_is_killed_and_the_next_one_is_served(video: bytes) -> None:
    async def run() -> None:
        decoder = VideoDecoder(ServeSettings(bundle="x", video=True, decode_timeout_s=60))
        upload = Upload(content=video, name="a", wanted=("frames",))
        assert (await decoder.prepare(upload)).clip is not None
        process = decoder._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        decoder._settings = decoder._settings.model_copy(update={"decode_timeout_s": 0.2})
        assert (await decoder.prepare(upload)).code == "decode-timeout"
        assert process.returncode == -signal.SIGKILL
        decoder._settings = decoder._settings.model_copy(update={"decode_timeout_s": 60})
        assert (await decoder.prepare(upload)).clip is not None
        assert decoder._process is not None
        os.kill(decoder._process.pid, signal.SIGKILL)
        assert (await decoder.prepare(upload)).code == "unreadable"
        waiting = asyncio.create_task(decoder.prepare(upload))
        await asyncio.sleep(0.05)
        waiting.cancel()  # its caller has left
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert decoder._process is None

    asyncio.run(run())


def test_damaged_videos_are_refused_or_recognised(folder: Path, video: bytes) -> None:
    """Bit flips of a real coding, cuts, doubled, empty, forged heads: never a fault, and the process serves on. Some 150 videos, in about five seconds."""
    webm = write_video(folder / "a.webm", numbered(NUM_FRAMES), codec="libvpx").read_bytes()
    generator = np.random.default_rng(0)
    huge = video.replace((64).to_bytes(2, "big") + b"\0\0" + (48).to_bytes(2, "big"), b"\xff\xff\0\0\xff\xff")
    contents = [huge, *damaged(video, generator, 80), *damaged(webm, generator, 60)]
    settings = ServeSettings(bundle="x", video=True, max_decoded_bytes=1 << 24, max_pixels=1 << 20)
    found = prepared(
        settings, *(Upload(content=content, name="a", wanted=("frames",)) for content in contents), Upload(content=video, name="a", wanted=("frames",))
    )
    assert found[-1].clip is not None
    assert {each.code for each in found} <= {"", "unreadable", "too-large"}
    assert sum(each.code == "unreadable" for each in found) > 20


def test_a_network_of_pictures_answers_as_predict_answers_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = replace(tiny_clip("shown", num_frames=20, glosses=("G0",)), frames=Pictures(array=numbered(20)), frame_size=(64, 48))
    seeing = save_seeing_bundle(folder / "seeing", samples=[shown])
    file = write_video(folder / "pictures.mp4", np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), dtype=np.uint8))
    assert predict(["--bundle", str(seeing.folder), "--format", "json", str(file)]) == 0
    expected = json.loads(capsys.readouterr().out)["clips"][0]
    app = local_api(seeing.folder, video=True)
    answer = recognise(app, file.read_bytes(), "video/mp4", name=str(file), keypoints=True).json()
    assert {key: answer[key] for key in expected} == expected
    assert "keypoints" not in answer
    assert answer["model"]["takes"] == ["video"]
    assert code_of(recognise(app, npz(tiny_clip()))) == (422, "unusable-keypoints")
    (listed,) = call(app, "GET", "/v1/samples").json()["samples"]
    assert (listed["name"], listed["num_frames"], listed["reference"]) == ("shown", 20, "G0")
    sample = call(app, "GET", "/v1/samples/0")
    assert sample.headers["content-type"] == "video/mp4"
    answer = recognise(app, sample.content, "video/mp4").json()
    assert answer["num_frames"] == 20
    app.state.context.pictures.capacity = 0
    assert code_of(recognise(app, file.read_bytes(), "video/mp4")) == (503, "overloaded")
    without = local_api(seeing.folder, video=False)
    assert call(without, "GET", "/v1/samples").json()["samples"] == []
    assert code_of(call(without, "GET", "/v1/samples/0")) == (404, "no-sample")
