"""The line before the network: requests gather while it is busy, and those that are alike go through it together as soon as it is free.

Serve's own `@serve.batch` closes a batch as soon as its first request has waited long enough, busy network or not: without waiting it makes batches of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serve.tasks import Reply, Task

LONGEST_TO_SHORTEST = 1.25  # clips of a batch: more would spend the time on padding
Answer = Callable[[Sequence[Task]], list[Reply]]


@dataclass(frozen=True, eq=False)
class _Waiting:
    task: Task
    reply: asyncio.Future[Reply]


class Batcher:
    """answer: the network, called in a thread with one batch at a time; max_size: of a batch; wait_s: how long a batch waits for more clips.

    The oldest request is always of the next batch, so that none waits for ever. One whose caller has left is not computed. Belongs to one event loop.
    """

    def __init__(self, answer: Answer, *, max_size: int, wait_s: float = 0.0) -> None:
        self._answer, self._max_size, self._wait_s = answer, max_size, wait_s
        self._line: list[_Waiting] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, task: Task) -> Reply:
        """The reply to a task. Raises what the network raises."""
        waiting = _Waiting(task, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        if self._work is None:
            self._work = asyncio.create_task(self._run())
        return await waiting.reply

    async def _run(self) -> None:
        try:
            while batch := await self._next():
                await self._answered(batch)
        finally:
            self._work = None

    async def _next(self) -> list[_Waiting]:
        if self._wait_s and self._line and len(self._line) < self._max_size:
            await asyncio.sleep(self._wait_s)
        self._line = [waiting for waiting in self._line if not waiting.reply.done()]  # its caller has left
        chosen = alike([waiting.task for waiting in self._line], self._max_size)
        batch = [self._line[position] for position in chosen]
        self._line = [waiting for position, waiting in enumerate(self._line) if position not in chosen]
        return batch

    async def _answered(self, batch: Sequence[_Waiting]) -> None:
        try:
            replies = await asyncio.to_thread(self._answer, [waiting.task for waiting in batch])
        except Exception as error:  # whatever it is: those who wait for it must hear of it
            for waiting in batch:
                if not waiting.reply.done():
                    waiting.reply.set_exception(error)
            return
        for waiting, reply in zip(batch, replies, strict=True):
            if not waiting.reply.done():
                waiting.reply.set_result(reply)


def alike(tasks: Sequence[Task], max_size: int) -> list[int]:
    """Positions of the first task and of those that go well with it: the same choice, lengths within LONGEST_TO_SHORTEST of one another, the nearest first."""
    if not tasks:
        return []
    lengths = [task.clip.num_frames for task in tasks]
    chosen, low, high = [0], lengths[0], lengths[0]
    for position in sorted(range(1, len(tasks)), key=lambda position: abs(lengths[position] - lengths[0])):
        if len(chosen) == max_size:
            break
        shortest, longest = min(low, lengths[position]), max(high, lengths[position])
        if tasks[position].choice == tasks[0].choice and longest <= LONGEST_TO_SHORTEST * shortest:
            chosen, low, high = [*chosen, position], shortest, longest
    return chosen


def similar_lengths(positions: Sequence[int], length: Callable[[int], int]) -> list[list[int]]:
    """The positions in groups, the shortest first, whose longest clip is at most LONGEST_TO_SHORTEST times as long as their shortest."""
    groups: list[list[int]] = []
    for position in sorted(positions, key=length):
        if groups and length(position) <= LONGEST_TO_SHORTEST * length(groups[-1][0]):
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups
