"""One live session: frames come in, the clip's end is recognised again at a fixed pace, what is certain goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve.context import Context, in_time
from serve.live_frames import LiveFrames
from serve.live_prefix import LivePrefix
from serve.problems import ProblemError
from serve.tasks import Choice, Reply, Task

Send = Callable[[Mapping[str, Any]], Awaitable[None]]
OPENING_FRAMES = 16  # a clip that is shorter may be too short for the network: it waits for more


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a session is opened with. window: frames that are recognised again, the newest ones; choice: how."""

    fps: float
    window: int
    choice: Choice


class LiveSession:
    """`add` and `run` belong to one event loop."""

    def __init__(self, opening: Opening, frames: LiveFrames, context: Context, *, send: Send) -> None:
        self._opening, self._frames, self._context, self._send = opening, frames, context, send
        settings = context.settings
        self._prefix = LivePrefix(num_rounds=settings.live_rounds, depth=settings.live_depth_s * opening.fps)
        self._num_added = 0
        self._first = 0  # frame of the stream at which the window begins
        self._round = 0
        self._ended = asyncio.Event()

    @property
    def num_frames(self) -> int:
        """Frames of the whole stream that were read until now."""
        return self._first + self._frames.num_read

    async def add(self, content: bytes) -> None:
        """Take a message of frames, as soon as there is room for it. Raises ProblemError where it is none, or one too many."""
        await self._frames.room()
        self._num_added += self._frames.add(content)
        if self._num_added > self._context.settings.max_live_frames:
            raise ProblemError("too-large", f"a live session takes {self._context.settings.max_live_frames} frames: open another one")

    def end(self) -> None:
        """No more frames come."""
        self._ended.set()

    async def run(self) -> None:
        """Recognise and send until the end. Raises ProblemError where the frames can't be recognised."""
        known = 0
        while not self._ended.is_set():
            self._context.gate.require_open()
            due = time.monotonic() + self._context.settings.live_pace_s
            begun = time.perf_counter()
            await self._frames.read()
            if self.num_frames > known and self.num_frames >= OPENING_FRAMES:
                known = self.num_frames
                await self._recognise("partial", begun)
            try:  # a round that took longer than the pace is followed at once by the next
                await asyncio.wait_for(self._ended.wait(), max(due - time.monotonic(), 0.001))
            except TimeoutError:
                continue
        begun = time.perf_counter()
        await self._frames.read()
        await self._recognise("final", begun)

    async def _recognise(self, kind: str, begun: float) -> None:
        self._forget()
        read, num_frames = time.perf_counter(), self.num_frames
        if not self._frames.num_read:
            raise ProblemError("unusable-keypoints", "the session ended before its first frame")
        task = Task(clip=self._frames.clip(), choice=self._opening.choice)
        try:
            async with self._context.gate.enter():
                reply = await in_time(lambda: self._context.recognise(task), self._context.settings.timeout_s)
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
        milliseconds = {"read_ms": round(1e3 * (read - begun), 3), "round_ms": round(1e3 * (time.perf_counter() - begun), 3)}
        await self._send(self._message(kind, reply, num_frames, {**milliseconds, "network_ms": round(reply.network_ms, 3)}))

    def _forget(self) -> None:
        """Leave out what lies before the window."""
        surplus = self._frames.num_read - self._opening.window
        if surplus > 0:
            self._frames.forget(surplus)
            self._first += surplus
            self._prefix.leave(self._first)

    def _placed(self, gloss: Mapping[str, Any]) -> dict[str, Any]:
        """A gloss in frames and seconds of the stream instead of the window."""
        start, end, fps = gloss["start_frame"] + self._first, gloss["end_frame"] + self._first, self._opening.fps
        return {**gloss, "start_frame": start, "end_frame": end, "start_s": round(start / fps, 3), "end_s": round(end / fps, 3)}

    def _message(self, kind: str, reply: Reply, num_frames: int, milliseconds: Mapping[str, float]) -> dict[str, Any]:
        stable, tentative = self._prefix.stable, self._prefix.tentative
        return {
            "type": kind,
            "round": self._round,
            "head": reply.record["head"] if reply.record else None,
            "num_frames": num_frames,
            "waiting": self._frames.num_waiting,
            "sentence": " ".join(gloss["gloss"] for gloss in (*stable, *tentative)),
            "stable": list(stable),
            "tentative": list(tentative),
            "timings": dict(milliseconds),
        }
