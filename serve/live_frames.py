"""What a live session is made of: frames of keypoints as they come, or pictures that become keypoints, or are kept, a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.media import jpeg_size
from serve.context import Context, in_time
from serve.problems import ProblemError
from serve.schemas import LiveStart
from serve.tasks import Upload

CHUNK = 16  # pictures that are decoded at a time: their time limit is that of a video


class LiveFrames(Protocol):
    """The newest frames of a session, in the order in which they came."""

    @property
    def num_read(self) -> int:
        """Frames that a clip of now would have."""

    @property
    def num_waiting(self) -> int:
        """Frames that came and have yet to be read."""

    def add(self, content: bytes) -> int:
        """Take a message; how many frames it holds. Raises ProblemError where it holds none."""

    async def room(self) -> None:
        """Returns when another message may be taken."""

    async def read(self) -> None:
        """Read what waits. Raises ProblemError where it can't be read."""

    def clip(self) -> Clip:
        """The frames that were read."""

    def forget(self, count: int) -> None:
        """Leave out the oldest."""


class LiveKeypoints:
    """Frames of keypoints, little-endian float32 (N, K, 3) a message."""

    num_waiting = 0

    def __init__(self, start: LiveStart) -> None:
        assert start.num_points is not None
        self._start, self._shape = start, (-1, start.num_points, 3)
        self._frames: list[np.ndarray] = []

    @property
    def num_read(self) -> int:
        return len(self._frames)

    def add(self, content: bytes) -> int:
        length = self._shape[1] * 3 * 4
        if not content or len(content) % length:
            raise ProblemError("unreadable", f"{len(content)} bytes are no frames of {self._shape[1]} points as float32 (x, y, confidence)")
        frames = np.frombuffer(content, "<f4").reshape(self._shape)
        self._frames += list(frames)
        return len(frames)

    async def room(self) -> None:
        return

    async def read(self) -> None:
        return

    def clip(self) -> Clip:
        return Clip(name="live", keypoints=np.stack(self._frames), frame_size=self._start.frame_size, fps=self._start.fps)

    def forget(self, count: int) -> None:
        del self._frames[:count]


class LivePictures:
    """JPEG pictures, one a message. Each is decoded once, where videos are; kept is what the networks read of it, pictures or keypoints."""

    def __init__(self, start: LiveStart, wanted: tuple[str, ...], context: Context) -> None:
        self._start, self._wanted, self._context = start, wanted, context
        self._encoded: list[bytes] = []
        self._keypoints: list[np.ndarray] = []  # of each frame (K, 3)
        self._pictures: list[np.ndarray] = []  # of each frame (H, W, 3), where they are wanted
        self._box: Mapping[str, float] | None = None  # where the signer was seen at first: a box that moved would move the keypoints
        self._read = asyncio.Event()

    @property
    def num_read(self) -> int:
        return len(self._keypoints)

    @property
    def num_waiting(self) -> int:
        return len(self._encoded)

    def add(self, content: bytes) -> int:
        limit, expected = self._context.settings.max_live_picture_bytes, self._start.frame_size
        if len(content) > limit:
            raise ProblemError("too-large", f"a picture of {len(content)} bytes: the service takes live ones of up to {limit}")
        try:
            size = jpeg_size(content)
        except RecordingError as error:
            raise ProblemError("unreadable", str(error)) from None
        if size != expected:
            raise ProblemError("unreadable", f"a picture of {size[0]}x{size[1]} pixels in a session of {expected[0]}x{expected[1]}")
        self._encoded.append(content)
        return 1

    async def room(self) -> None:
        """Whoever sends faster than pictures are read has to wait: the socket isn't read meanwhile."""
        while self.num_waiting >= self._context.settings.max_live_waiting:
            self._read.clear()
            await self._read.wait()

    async def read(self) -> None:
        for _ in range(-(-len(self._encoded) // CHUNK)):
            chunk, self._encoded = self._encoded[:CHUNK], self._encoded[CHUNK:]
            await self._read_chunk(chunk)
            self._read.set()

    async def _read_chunk(self, chunk: list[bytes]) -> None:
        upload = Upload(
            content=b"".join(chunk),
            name="live",
            wanted=self._wanted,
            pictures=tuple(map(len, chunk)),
            frame_size=self._start.frame_size,
            box=self._box,
        )
        prepared = await in_time(lambda: self._context.backend.prepare(upload), self._context.settings.timeout_s)
        if prepared.clip is None:
            raise ProblemError(prepared.code, prepared.detail)
        self._box = self._box or prepared.box
        self._keypoints += list(prepared.clip.keypoints)
        if prepared.clip.frames is not None:
            self._pictures += list(prepared.clip.frames.decode(range(len(chunk))))

    def clip(self) -> Clip:
        pictures = Pictures(array=np.stack(self._pictures)) if self._pictures else None
        return Clip(name="live", keypoints=np.stack(self._keypoints), frames=pictures, frame_size=self._start.frame_size, fps=self._start.fps)

    def forget(self, count: int) -> None:
        del self._keypoints[:count]
        del self._pictures[:count]
