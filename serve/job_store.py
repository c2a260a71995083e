"""Jobs: clips that take longer than a caller should wait at the line. They live in the front's memory for a while, and nowhere else."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from models.inputs.clip import Clip
from serve.context import Context, in_time
from serve.problems import ProblemError, problem_document
from serve.tasks import Choice, Task
from serve.windows import joined, plan_windows, window_clip

FULL_PAUSE_S = 0.5  # before a window is tried again for which the service had no room


@dataclass(eq=False)
class Job:
    """One job. caller: who may ask for it; changed: set at each change of its state, and replaced."""

    caller: str
    num_frames: int
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: str = "queued"
    num_done: int = 0
    answer: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None
    ended: float = 0.0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        return self.status in ("done", "failed", "cancelled")

    def record(self) -> dict[str, Any]:
        """What `schemas.JobState` tells."""
        progress = 1.0 if self.status == "done" else round(self.num_done / max(self.num_frames, 1), 4)
        return {"id": self.id, "status": self.status, "progress": progress, "num_frames": self.num_frames, "answer": self.answer, "problem": self.problem}

    def change(self, **facts: Any) -> None:
        """Set attributes, and wake those who watch."""
        vars(self).update(facts)
        if self.over:
            self.ended = time.monotonic()
        self.changed.set()
        self.changed = asyncio.Event()


class JobStore:
    """Runs jobs one after the other, window by window, so that clips of callers who wait get between; forgets finished ones after `job_keep_s`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(1)
        self._num_coming = 0

    @property
    def num_open(self) -> int:
        """Jobs that are uploaded, wait or run."""
        return len(self._running) + self._num_coming

    @contextmanager
    def coming(self) -> Iterator[None]:
        """A place for a clip that is being uploaded: it takes memory, too. Raises as `require_room`."""
        self.require_room()
        self._num_coming += 1
        try:
            yield
        finally:
            self._num_coming -= 1

    def require_room(self) -> None:
        """Raises the problem `overloaded` where as many jobs wait as may, `stopping` where the service ends."""
        self._context.gate.require_open()
        if self.num_open >= self._context.settings.max_jobs:
            raise ProblemError("overloaded", f"{self.num_open} jobs are waiting or running; try again later")

    def submit(self, clip: Clip, choice: Choice, caller: str, extra: Mapping[str, Any]) -> Job:
        """Start a job; `extra` goes into its answer. Raises the problem `overloaded`."""
        self._forget()
        self.require_room()
        job = Job(caller=caller, num_frames=clip.num_frames)
        self._jobs[job.id] = job
        self._running[job.id] = asyncio.create_task(self._run(job, clip, choice, extra))
        self._running[job.id].add_done_callback(lambda _: self._running.pop(job.id, None))
        return job

    def find(self, job_id: str, caller: str) -> Job:
        """Raises the problem `no-job` where there is none of this caller."""
        self._forget()
        job = self._jobs.get(job_id)
        if job is None or job.caller != caller:
            raise ProblemError("no-job", "there is no such job: it was given up, or ended long ago")
        return job

    def give_up(self, job: Job) -> None:
        """Stop a job and forget it."""
        if task := self._running.get(job.id):
            task.cancel()
        if not job.over:
            job.change(status="cancelled")
        self._jobs.pop(job.id, None)

    def _forget(self) -> None:
        now, keep_s = time.monotonic(), self._context.settings.job_keep_s
        for job in [job for job in self._jobs.values() if job.over and now - job.ended > keep_s]:
            del self._jobs[job.id]

    async def _run(self, job: Job, clip: Clip, choice: Choice, extra: Mapping[str, Any]) -> None:
        async with self._turn:
            job.change(status="running")
            try:
                job.change(status="done", answer={**await self._recognised(job, clip, choice), **extra})
            except ProblemError as problem:
                job.change(status="failed", problem=problem_document(problem))
            except Exception:
                job.change(status="failed", problem=problem_document(ProblemError("internal", "the service has a fault; its log says more")))
                raise

    async def _recognised(self, job: Job, clip: Clip, choice: Choice) -> dict[str, Any]:
        begun = time.perf_counter()
        card = await in_time(self._context.backend.describe, self._context.settings.timeout_s)
        whole = card["task"] != "slr" or card["max_frames"] is None
        windows = plan_windows(clip.num_frames, clip.num_frames if whole else card["max_frames"])
        records, network_ms, model = [], 0.0, card
        for window in windows:
            reply = await self._window(Task(clip=window_clip(clip, window), choice=choice))
            if reply.record is None:
                raise ProblemError(reply.code, reply.detail)
            records.append(reply.record)
            network_ms, model = network_ms + reply.network_ms, reply.model
            job.change(num_done=window.stop)
        milliseconds = round(1e3 * (time.perf_counter() - begun), 3)
        timings = {"read_ms": 0.0, "recognise_ms": milliseconds, "total_ms": milliseconds, "network_ms": round(network_ms, 3), "batch_size": 1}
        return {**joined(records, windows, clip), "model": dict(model), "timings": timings}

    async def _window(self, task: Task) -> Any:
        while True:
            try:
                async with self._context.gate.enter():
                    return await in_time(lambda: self._context.recognise(task), self._context.settings.timeout_s)
            except ProblemError as problem:
                if problem.code != "overloaded":
                    raise
                await asyncio.sleep(FULL_PAUSE_S)  # callers who wait go first
