"""The API in this process, on a bundle, without Ray."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from models.inputs.clip import Clip
from serve.api import build_api
from serve.decoder import VideoDecoder
from serve.settings import ServeSettings
from serve.tasks import Prepared, Reply, Task, Upload
from serve.worker import ModelWorker


class LocalBackend:
    """A model in this process. `hold` delays its replies until it is set."""

    def __init__(self, worker: ModelWorker, settings: ServeSettings) -> None:
        self.worker, self.settings = worker, settings
        self.hold: asyncio.Event | None = None
        self.decoders: dict[asyncio.AbstractEventLoop, VideoDecoder] = {}

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Where the application is started and ended, one process decodes all videos."""
        self.decoders[loop := asyncio.get_running_loop()] = VideoDecoder(self.settings)
        yield
        await self.decoders.pop(loop).close()

    async def prepare(self, upload: Upload) -> Prepared:
        if shared := self.decoders.get(asyncio.get_running_loop()):
            return await shared.prepare(upload)
        decoder = VideoDecoder(self.settings)
        try:
            return await decoder.prepare(upload)
        finally:
            await decoder.close()

    async def recognise(self, task: Task) -> Reply:
        if self.hold is not None:
            await self.hold.wait()
        (reply,) = self.worker.answer([task])
        return reply

    async def describe(self) -> Mapping[str, Any]:
        return self.worker.card

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        return self.worker.samples()

    async def sample(self, number: int) -> bytes | None:
        return self.worker.sample(number)


class BrokenBackend:
    """A model with a bug."""

    async def prepare(self, upload: Upload) -> Prepared:
        raise RuntimeError("secret path")

    async def recognise(self, task: Task) -> Reply:
        raise RuntimeError("secret path")

    async def describe(self) -> Mapping[str, Any]:
        await asyncio.sleep(60)
        raise AssertionError

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        raise RuntimeError("secret path")

    async def sample(self, number: int) -> bytes | None:
        raise RuntimeError("secret path")


def local_api(bundle: Path, **settings: Any) -> FastAPI:
    chosen = ServeSettings(bundle=str(bundle), device="cpu", **settings)
    backend = LocalBackend(ModelWorker(chosen), chosen)
    app = build_api(backend, chosen)
    app.router.lifespan_context = backend.lifespan
    return app


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


def call(app: FastAPI, method: str, path: str, **content: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        async with client_of(app) as client:
            return await client.request(method, path, **content)

    return asyncio.run(send())


def recognise(app: FastAPI, body: bytes, kind: str = "application/x-npz", **params: Any) -> httpx.Response:
    return call(app, "POST", "/v1/recognize", content=body, params=params, headers={"Content-Type": kind})


def npz(clip: Clip, *, compressed: bool = False, **changes: Any) -> bytes:
    """A clip as the content of a keypoint file; `changes` replace arrays, None leaves one out."""
    arrays = {"keypoints": clip.keypoints, "frame_size": np.array(clip.frame_size), "fps": np.float32(clip.fps or 25), **changes}
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem document, which every error must be."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == f"urn:signray:problem:{document['code']}"
    assert document["title"]
    assert "\n" not in document["detail"]
    return response.status_code, document["code"]
