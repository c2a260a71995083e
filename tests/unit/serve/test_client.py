"""The Python client over a real socket: long clips as jobs, live sessions, errors by their codes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest

from models.inputs.keypoints import KeypointInputs
from serve.client import Client, ServiceError
from tests.unit.serve.in_process import local_api, npz
from tests.unit.serve.in_thread import listening
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("client") / "bundle"
    bundle = save_tiny_bundle(folder, tiny_network(scale=30), inputs=KeypointInputs(max_frames=40))
    with listening(local_api(bundle.folder, live_pace_s=0.02, max_frames=60)) as url:
        yield url


def test_a_long_clip_is_a_job(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.client.POLL_S", 0.01)
    long, bad = npz(tiny_clip(num_frames=100)), npz(tiny_clip(), keypoints=np.full((8, 133, 3), np.nan, np.float32))

    async def ask() -> int:
        async with Client(service) as client:
            waiting = asyncio.create_task(client.job_async(long, name="long"))
            answer = await waiting
            given_up = asyncio.create_task(client.job_async(long))
            await asyncio.sleep(0.005)
            given_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await given_up
            return int(answer["windows"])

    with Client(service) as client:
        with pytest.raises(ServiceError, match="/v1/jobs") as refused:
            client.recognize(long)
        assert refused.value.code == "too-large"
        assert client.job(long, name="long")["windows"] == asyncio.run(ask()) > 1
        with pytest.raises(ServiceError) as failed:
            client.job(bad)
        assert failed.value.code == "unusable-keypoints"


def test_what_does_not_translate_says_so(service: str) -> None:
    with Client(service) as client, pytest.raises(ServiceError) as refused:
        client.translate(npz(tiny_clip()))
    assert (refused.value.code, refused.value.status) == ("no-translation", 422)


def test_frames_go_in_and_messages_come_out(service: str) -> None:
    clip = tiny_clip(num_frames=40)

    async def frames(count: int = 40) -> AsyncIterator[bytes]:
        for start in range(0, count, 20):
            yield clip.keypoints[start : start + 20].tobytes()
            await asyncio.sleep(0.1)

    async def broken() -> AsyncIterator[bytes]:
        yield clip.keypoints[:20].tobytes()
        raise RuntimeError("the camera is gone")

    async def ask() -> None:
        client = Client(service)
        facts = {"num_points": 133, "frame_size": clip.frame_size, "fps": 25.0}
        messages = [message async for message in client.live(frames(), **facts)]  # type: ignore[arg-type]
        assert [message["type"] for message in messages][:2] == ["ready", "partial"]
        assert (messages[-1]["type"], messages[-1]["num_frames"]) == ("final", 40)
        with pytest.raises(ServiceError) as refused:
            [message async for message in client.live(frames(), frame_size=(64, 48), fps=25)]
        assert refused.value.code == "unsupported-media-type"
        with pytest.raises(RuntimeError, match="the camera is gone"):
            [message async for message in client.live(broken(), **facts)]  # type: ignore[arg-type]
        with pytest.raises(ServiceError, match="no live session"):
            [message async for message in Client("http://127.0.0.1:9").live(frames(), frame_size=(64, 48), fps=25)]

    asyncio.run(ask())


def test_an_url_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="is no URL"):
        Client("service:8000")
