"""One live session: frames come in, the clip's end is recognised again at a fixed pace, what is certain goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.inputs.clip import Clip
from serve.context import Context, in_time
from serve.live_prefix import LivePrefix
from serve.problems import ProblemError
from serve.tasks import Choice, Reply, Task

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
OPENING_FRAMES = 16  # a clip that is shorter may be too short for the network: it waits for more


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a session is opened with: what its frames are, and how they are to be recognised."""

    num_points: int
    frame_size: tuple[int, int]
    fps: float
    choice: Choice


class LiveSession:
    """window: frames that are recognised again, the newest ones. Frames are (K, 3); `add` and `run` belong to one event loop."""

    def __init__(self, opening: Opening, context: Context, *, window: int, send: Send) -> None:
        self._opening, self._context, self._window, self._send = opening, context, window, send
        settings = context.settings
        self._prefix = LivePrefix(num_rounds=settings.live_rounds, depth=settings.live_depth_s * opening.fps)
        self._frames: list[np.ndarray] = []
        self._first = 0  # frame of the stream at which the window begins
        self._round = 0
        self._ended = asyncio.Event()

    @property
    def num_frames(self) -> int:
        """Frames of the whole stream until now."""
        return self._first + len(self._frames)

    def add(self, content: bytes) -> None:
        """Frames of keypoints, little-endian float32 (N, K, 3). Raises ProblemError where they are none, or too many."""
        length = self._opening.num_points * 3 * 4
        if not content or len(content) % length:
            raise ProblemError("unreadable", f"{len(content)} bytes are no frames of {self._opening.num_points} points as float32 (x, y, confidence)")
        frames = np.frombuffer(content, "<f4").reshape(-1, self._opening.num_points, 3)
        if self.num_frames + len(frames) > self._context.settings.max_live_frames:
            raise ProblemError("too-large", f"a live session takes {self._context.settings.max_live_frames} frames: open another one")
        self._frames += list(frames)

    def end(self) -> None:
        """No more frames come."""
        self._ended.set()

    async def run(self) -> None:
        """Recognise and send until the end. Raises ProblemError where the frames can't be recognised."""
        known = 0
        while not self._ended.is_set():
            due = time.monotonic() + self._context.settings.live_pace_s
            if self.num_frames > known and self.num_frames >= OPENING_FRAMES:
                known = self.num_frames
                await self._recognise("partial")
            try:  # a round that took longer than the pace is followed at once by the next
                await asyncio.wait_for(self._ended.wait(), max(due - time.monotonic(), 0.001))
            except TimeoutError:
                continue
        await self._recognise("final")

    async def _recognise(self, kind: str) -> None:
        self._forget()
        begun, num_frames = time.perf_counter(), self.num_frames
        if not self._frames:
            raise ProblemError("unusable-keypoints", "the session ended before its first frame")
        clip = Clip(name="live", keypoints=np.stack(self._frames), frame_size=self._opening.frame_size, fps=self._opening.fps)
        try:
            async with self._context.gate.enter():
                reply = await in_time(lambda: self._context.recognise(Task(clip=clip, choice=self._opening.choice)), self._context.settings.timeout_s)
        except ProblemError as problem:
            if problem.code == "overloaded" and kind == "partial":  # the next round may find room
                return
            raise
        if reply.record is None:
            raise ProblemError(reply.code, reply.detail)
        self._round += 1
        self._prefix.update([self._placed(gloss) for gloss in reply.record["glosses"]], num_frames=num_frames)
        if kind == "final":
            self._prefix.finish()
        await self._send(self._message(kind, reply, num_frames=num_frames, round_ms=1e3 * (time.perf_counter() - begun)))

    def _forget(self) -> None:
        """Leave out what lies before the window."""
        surplus = len(self._frames) - self._window
        if surplus > 0:
            del self._frames[:surplus]
            self._first += surplus
            self._prefix.leave(self._first)

    def _placed(self, gloss: Mapping[str, Any]) -> dict[str, Any]:
        """A gloss in frames and seconds of the stream instead of the window."""
        start, end, fps = gloss["start_frame"] + self._first, gloss["end_frame"] + self._first, self._opening.fps
        return {**gloss, "start_frame": start, "end_frame": end, "start_s": round(start / fps, 3), "end_s": round(end / fps, 3)}

    def _message(self, kind: str, reply: Reply, *, num_frames: int, round_ms: float) -> dict[str, Any]:
        stable, tentative = self._prefix.stable, self._prefix.tentative
        return {
            "type": kind,
            "round": self._round,
            "num_frames": num_frames,
            "sentence": " ".join(gloss["gloss"] for gloss in (*stable, *tentative)),
            "stable": list(stable),
            "tentative": list(tentative),
            "timings": {"round_ms": round(round_ms, 3), "network_ms": round(reply.network_ms, 3)},
        }
