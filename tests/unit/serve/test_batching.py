"""The line before the network: what gathers while it is busy goes through it together, nobody waits for ever, those who left are not computed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.inputs.clip import Clip
from serve.batching import LONGEST_TO_SHORTEST, Batcher, alike
from serve.tasks import Choice, Reply, Task


def task(name: str, num_frames: int = 20, **choice: object) -> Task:
    clip = Clip(name=name, keypoints=np.zeros((num_frames, 1, 3), np.float32), frame_size=(9, 9))
    return Task(clip=clip, choice=Choice(**choice))  # type: ignore[arg-type]


class Network:
    """Notes its batches; waits in its thread until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = threading.Event()

    def __call__(self, tasks: Sequence[Task]) -> list[Reply]:
        self.batches.append([task.clip.name for task in tasks])
        self.free.wait(10)
        if any(task.clip.name == "broken" for task in tasks):
            raise RuntimeError("a fault of the network")
        return [Reply(record={"name": task.clip.name}, model={}) for task in tasks]


async def started(network: Network, count: int = 1) -> None:
    while len(network.batches) < count:
        await asyncio.sleep(0.001)


def test_what_gathers_meanwhile_goes_together_by_length_and_choice() -> None:
    async def run() -> None:
        network = Network()
        batcher = Batcher(network, max_size=3)
        tasks = [task("first"), task("a", 20), task("long", 60), task("b", 22), task("other", 20, n_best=2), task("c", 21), task("d", 24)]
        replies = [asyncio.create_task(batcher.ask(each)) for each in tasks]
        await started(network)
        network.free.set()
        names = [reply.record["name"] for reply in await asyncio.gather(*replies) if reply.record]
        assert names == [each.clip.name for each in tasks]
        assert network.batches[0] == ["first", "a", "c"]  # all of them came before the network had begun
        assert network.batches[1:] == [["long"], ["b", "d"], ["other"]]

    asyncio.run(run())


def test_who_has_left_is_not_computed() -> None:
    async def run() -> None:
        network = Network()
        batcher = Batcher(network, max_size=8)
        first = asyncio.create_task(batcher.ask(task("first")))
        await started(network)
        gone = [asyncio.create_task(batcher.ask(task(f"gone{number}"))) for number in range(5)]
        stays = asyncio.create_task(batcher.ask(task("stays")))
        await asyncio.sleep(0)
        for each in (*gone, first):  # the first is in work already: it ends for nobody
            each.cancel()
        await asyncio.sleep(0)
        network.free.set()
        assert (await stays).record == {"name": "stays"}
        assert network.batches == [["first"], ["stays"]]

    asyncio.run(run())


def test_a_fault_reaches_those_it_concerns_and_the_next_are_served() -> None:
    async def run() -> None:
        network = Network()
        network.free.set()
        batcher = Batcher(network, max_size=2)
        with pytest.raises(RuntimeError, match="a fault"):
            await batcher.ask(task("broken"))
        assert (await batcher.ask(task("whole"))).record == {"name": "whole"}

    asyncio.run(run())


def test_a_batch_may_wait_for_more() -> None:
    async def run() -> None:
        network = Network()
        network.free.set()
        batcher = Batcher(network, max_size=2, wait_s=0.05)
        one = asyncio.create_task(batcher.ask(task("one")))
        await asyncio.sleep(0.01)
        await asyncio.gather(one, batcher.ask(task("two")))
        assert network.batches == [["one", "two"]]

    asyncio.run(run())


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 1)), min_size=1, max_size=12), st.integers(1, 5))
def test_a_batch_has_the_oldest_and_is_alike(facts: list[tuple[int, int]], max_size: int) -> None:
    tasks = [task("x", num_frames, heads=bool(heads)) for num_frames, heads in facts]
    chosen = alike(tasks, max_size)
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen) <= max_size
    assert len({tasks[position].choice for position in chosen}) == 1
    lengths = [tasks[position].clip.num_frames for position in chosen]
    assert max(lengths) <= LONGEST_TO_SHORTEST * min(lengths)
