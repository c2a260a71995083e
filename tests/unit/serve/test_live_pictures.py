"""Live pictures: they become what the networks read, once each, where videos are decoded; their limits hold before that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from models.bundle import Bundle
from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.frames import EncodedPictures
from models.media import jpeg_size
from models.pose import pose_estimator
from serve.live import window_of
from serve.live_frames import LivePictures
from serve.problems import ProblemError
from serve.schemas import LiveStart
from serve.settings import ServeSettings
from tests.unit.models.tiny_onnx import dots, write_pose_model
from tests.unit.serve.in_process import local_api
from tests.unit.serve.seeing import save_seeing_bundle
from tests.unit.tiny import save_tiny_bundle, tiny_network

SIZE = (64, 48)
OPENING = {"frames": "jpeg", "frame_size": SIZE, "fps": 25}


def jpeg(picture: np.ndarray, *parameters: int) -> bytes:
    return bytes(cv2.imencode(".jpg", picture[..., ::-1], list(parameters))[1])


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    places = np.array([[[20 + step, 15], [40, 20 + step // 2], [30, 40]] for step in range(20)])
    return [jpeg(picture) for picture in dots(places, SIZE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def pose_model(folder: Path) -> Path:
    return write_pose_model(folder / "pose.onnx")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return save_tiny_bundle(folder / "bundle", tiny_network(scale=30))


@contextmanager
def session(app: FastAPI, **start: Any) -> Iterator[WebSocketTestSession]:
    with TestClient(app) as client, client.websocket_connect("/v1/live") as socket:
        socket.send_text(json.dumps({**OPENING, **start}))
        yield socket


def final(app: FastAPI, pictures: list[bytes]) -> dict[str, Any]:
    """The last message of a session of these pictures; the decoding process starts anew for each round here, so that there are few."""
    with session(app) as socket:
        assert socket.receive_json()["type"] == "ready"
        for picture in pictures:
            socket.send_bytes(picture)
        socket.send_text('{"type": "end"}')
        while (message := socket.receive_json())["type"] == "partial":
            pass
    assert message["type"] == "final", message
    return dict(message)


def test_pictures_become_keypoints_for_a_model_of_keypoints(bundle: Bundle, pose_model: Path, pictures: list[bytes]) -> None:
    message = final(local_api(bundle.folder, video=True, pose_model=pose_model, live_pace_s=9), pictures)
    points = pose_estimator(pose_model).estimate(EncodedPictures(pictures=pictures, size=SIZE))
    clip = Clip(name="live", keypoints=points, frame_size=SIZE, fps=25.0)
    expected = next(bundle.recogniser().recognise([clip]))
    assert message["sentence"].split() == list(expected.answer.words)
    assert (message["num_frames"], message["waiting"]) == (20, 0)


def test_pictures_stay_pictures_for_a_model_of_pictures(folder: Path) -> None:
    generator = np.random.default_rng(0)
    noise = [jpeg(generator.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)) for _ in range(20)]
    seeing = save_seeing_bundle(folder / "seeing")
    message = final(local_api(seeing.folder, video=True, live_pace_s=9), noise)
    clip = Clip(name="live", keypoints=np.empty((20, 0, 3), np.float32), frames=EncodedPictures(pictures=noise, size=SIZE), frame_size=SIZE, fps=25.0)
    expected = next(seeing.recogniser().recognise([clip]))
    assert message["sentence"].split() == list(expected.answer.words)
    with session(local_api(seeing.folder, video=True), frames="keypoints", num_points=133) as socket:
        refused = socket.receive_json()
    assert (refused["code"], "looks at pictures" in refused["detail"]) == ("unusable-keypoints", True)


@pytest.mark.parametrize(
    ("start", "change", "code"),
    [
        ({"num_points": 133}, None, "invalid-parameter"),
        ({"frames": "png"}, None, "invalid-parameter"),
        ({"frame_size": (4000, 3000)}, None, "too-large"),
        ({}, lambda picture: b"", "unreadable"),
        ({}, lambda picture: b"\x89PNG" + picture, "unreadable"),
        ({}, lambda picture: picture[:100], "unreadable"),
        ({}, lambda picture: picture + bytes(20_000), "too-large"),
        ({"frame_size": (48, 64)}, lambda picture: picture, "unreadable"),  # of another size than was announced
        ({}, lambda picture: picture[: len(picture) // 2] + b"\xff\xc9" * 40, "unreadable"),  # its head is whole
    ],
)
def test_what_is_no_picture_of_the_session_ends_it(
    bundle: Bundle, pose_model: Path, pictures: list[bytes], start: dict[str, Any], change: Any, code: str
) -> None:
    app = local_api(bundle.folder, video=True, pose_model=pose_model, max_live_picture_bytes=20_000, live_pace_s=0.05)
    with session(app, **start) as socket:
        message = socket.receive_json()
        if message["type"] == "ready":
            socket.send_bytes(change(pictures[0]))
            socket.send_text('{"type": "end"}')
            message = socket.receive_json()
        assert (message["type"], message["code"]) == ("problem", code)
        with pytest.raises(WebSocketDisconnect):
            socket.receive_json()


def test_a_service_that_sees_nothing_takes_no_pictures(bundle: Bundle) -> None:
    with session(local_api(bundle.folder)) as socket:
        assert socket.receive_json()["code"] == "unsupported-media-type"


def test_a_session_keeps_as_many_pictures_as_there_is_room_for() -> None:
    card = {"max_frames": 400, "modalities": ["frames"]}
    start, settings = LiveStart(frames="jpeg", frame_size=(640, 480), fps=25), ServeSettings(bundle="x")
    assert window_of(start, card, settings) == 145
    assert window_of(start, {**card, "modalities": ["keypoints"]}, settings) == 400
    with pytest.raises(ProblemError, match="room for 5 pictures"):
        window_of(start, card, ServeSettings(bundle="x", max_live_decoded_bytes=5 * 640 * 480 * 3))


def test_who_sends_faster_than_pictures_are_read_has_to_wait(bundle: Bundle, pose_model: Path, pictures: list[bytes]) -> None:
    async def run() -> None:
        app = local_api(bundle.folder, video=True, pose_model=pose_model, max_live_waiting=2)
        frames = LivePictures(LiveStart.model_validate(OPENING), ("keypoints",), app.state.context)
        for picture in pictures[:2]:
            await asyncio.wait_for(frames.room(), 1)
            frames.add(picture)
        waiting = asyncio.create_task(frames.room())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await frames.read()
        await asyncio.wait_for(waiting, 1)
        assert (frames.num_read, frames.num_waiting) == (2, 0)

    asyncio.run(run())


@pytest.mark.parametrize("parameters", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)])
def test_the_head_of_a_picture_tells_its_size(parameters: tuple[int, ...]) -> None:
    content = jpeg(np.zeros((37, 91, 3), np.uint8), *parameters)
    assert jpeg_size(content) == (91, 37)
    for bad in (b"", content[1:], content[:20], content[:2], content[:2] + b"\xff" * 50, content.replace(b"\x00\x25\x00\x5b", b"\x00\x00\x00\x5b")):
        with pytest.raises(RecordingError):
            jpeg_size(bad)
