"""Videos become clips in a process of their own, which is killed where it takes too long and started anew for the next one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from serve.settings import ServeSettings
from serve.tasks import Prepared, Upload

ROOT = Path(__file__).resolve().parents[1]
TYPES: Mapping[str, np.dtype[Any]] = {"keypoints": np.dtype("<f4"), "frames": np.dtype("u1")}
MAX_HEAD_BYTES = 1 << 16
GONE = "the decoder ended on it: the video is damaged, or needs more memory than the service has for one"


class VideoDecoder:
    """One process, one video at a time. Belongs to one event loop."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()
        self._process: Process | None = None

    async def prepare(self, upload: Upload) -> Prepared:
        """The clip of a video, or the problem. A request that is cancelled stops the work."""
        async with self._turn:
            try:
                async with asyncio.timeout(self._settings.decode_timeout_s):
                    return await self._decoded(upload)
            except TimeoutError:
                await self.close()
                return Prepared(
                    code="decode-timeout", detail=f"{upload.name}: wasn't decoded within {self._settings.decode_timeout_s:g} s: send a shorter video"
                )
            except (EOFError, ConnectionError):
                await self.close()
                return Prepared(code="unreadable", detail=f"{upload.name}: {GONE}")
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Kill the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _decoded(self, upload: Upload) -> Prepared:
        process = self._process = self._process or await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self._request(upload)).encode() + b"\n" + upload.content)
        await process.stdin.drain()
        head = await process.stdout.readline()
        if not head.endswith(b"\n"):
            raise EOFError
        found = json.loads(head)
        arrays = {name: await _array(process.stdout, name, shape) for name, shape in found["shapes"].items()}
        if "code" in found:
            return Prepared(code=found["code"], detail=found["detail"])
        return Prepared(clip=_clip(upload, found, arrays), box=found["box"])

    def _request(self, upload: Upload) -> dict[str, Any]:
        settings = self._settings
        limits = {"max_frames": upload.max_frames or settings.max_frames, "max_seconds": upload.max_seconds or settings.max_seconds}
        limits |= {"max_pixels": settings.max_pixels}
        pictures = {"pictures": upload.pictures, "frame_size": upload.frame_size, "box": upload.box}
        return {"name": upload.name, "size": len(upload.content), "wanted": upload.wanted, "max_bytes": settings.max_decoded_bytes, **limits, **pictures}

    async def _started(self) -> Process:
        settings = self._settings
        files = [str(path) for path in (settings.pose_model, settings.pose_detector) if path is not None]
        # It needs no more of the environment than where the libraries are.
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")}
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "serve.decode_child", str(settings.decode_memory_bytes), *files]
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment, limit=MAX_HEAD_BYTES)


async def _array(stream: asyncio.StreamReader, name: str, shape: list[int]) -> np.ndarray:
    dtype, content = TYPES[name], bytearray()
    size = int(np.prod(shape)) * dtype.itemsize
    while len(content) < size:
        chunk = await stream.read(min(size - len(content), 1 << 20))
        if not chunk:
            raise EOFError
        content += chunk
    array: np.ndarray = np.frombuffer(content, dtype).reshape(shape)
    return array


def _clip(upload: Upload, found: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Clip:
    num_frames, (width, height) = found["num_frames"], found["frame_size"]
    return Clip(
        name=upload.name,
        keypoints=arrays.get("keypoints", np.empty((num_frames, 0, 3), np.float32)),
        frames=Pictures(array=arrays["frames"]) if "frames" in arrays else None,
        frame_size=(width, height),
        fps=upload.fps or found["fps"],
    )
