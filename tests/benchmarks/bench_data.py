"""The data pipeline alone, in a Ray Train worker: shards read, clips sampled and put together to batches, with nothing learnt from them.

Three ways take turns: streamed by Ray Data, read from the shards in process, and clips that stay in memory after the first epoch (which is what a training does
where `data.shuffle_pool` holds its share of the corpus). Some steps of the bare loop run in each round, so that the shares are of the same moment.
"""

from __future__ import annotations

import statistics
import time
from itertools import islice
from pathlib import Path

from tests.benchmarks.bench_stack import BareLoop
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training.batches import ClipSource, EpochBatches
from workloads.training.loop import Setting
from workloads.training.session import LocalSession, Session

STEPS = 2  # of the bare loop in a round
POOL = 64  # clips; smaller than the corpus, so that each epoch reads it again
WAYS = {"ray": "streamed by Ray Data", "process": "read in process", "memory": "kept in memory"}


def read(recipe: Recipe, setting: Setting, session: Session) -> dict[str, list[float]]:
    """The measurement in the worker: seconds per batch of each way (`ray_start`: to the first batch of an epoch), and per step of the bare loop."""
    shards = ShardSet.open(Path(recipe.data.shards))
    local = LocalSession(shards, train_split=recipe.data.train_split, dev_split=recipe.data.dev_split)
    ways = {
        "ray": _batches(recipe, setting, session.training_clips(0, 1), POOL),
        "process": _batches(recipe, setting, local.training_clips(), POOL),
        "memory": _batches(recipe, setting, local.training_clips(), recipe.data.shuffle_pool),
    }
    bare_loop = BareLoop(recipe, len(setting.task.classes))
    record: dict[str, list[float]] = {name: [] for name in (*ways, "ray_start", "step")}
    for epoch in range(recipe.train.epochs):
        for way, batches in ways.items():
            start, seconds = _pass(batches, epoch)
            record[way].append(seconds / batches.num_batches)
            if way == "ray":
                record["ray_start"].append(start)
        record["step"].append(_steps(bare_loop, ways["memory"], epoch))
    return {name: values[1:] for name, values in record.items()}  # the first round fills caches and memory


def measure(bench: Bench) -> list[Figure]:
    """Reading through Ray Data over reading in process, and each way's share of a step."""
    record = bench.measure(read, "data", (f"train.epochs={2 if bench.quick else 8}",))
    shards = ShardSet.open(bench.shards()).corpus.splits["train"]
    batch_size = 2 if bench.quick else 8

    def rate(way: str) -> str:
        clips = batch_size / statistics.median(record[way])
        return f"{clips:,.0f} recordings/s, {clips * shards.frames / shards.recordings:,.0f} frames/s"

    start = 1000 * statistics.median(record["ray_start"])
    ratio = tuple(a / b for a, b in zip(record["ray"], record["process"], strict=True))
    figures = [
        Figure(
            name="data, streamed by Ray Data / read in process",
            rounds=ratio,
            note=f"{rate('ray')} over {rate('process')}; an epoch's first batch after {start:.0f} ms",
        )
    ]
    for way, text in WAYS.items():
        share = tuple(100 * a / b for a, b in zip(record[way], record["step"], strict=True))
        figures.append(Figure(name=f"data, {text}: time of a batch / time of a step", rounds=share, unit="%", note=rate(way)))
    return figures


def _batches(recipe: Recipe, setting: Setting, source: ClipSource, pool_size: int) -> EpochBatches:
    return EpochBatches(
        source=source,
        inputs=recipe.inputs,
        task=setting.task,
        batch_size=recipe.train.batch_size,
        pool_size=min(pool_size, source.num_clips // 2) if pool_size == POOL else pool_size,
        bucket_batches=recipe.data.bucket_batches,
        seed=recipe.seed,
        rank=0,
    )


def _pass(batches: EpochBatches, epoch: int) -> tuple[float, float]:
    """Seconds to the first batch of an epoch, and to its end."""
    began = time.perf_counter()
    iterator = batches.epoch(epoch)
    next(iterator)
    start = time.perf_counter() - began
    for _ in iterator:
        pass
    return start, time.perf_counter() - began


def _steps(bare_loop: BareLoop, batches: EpochBatches, epoch: int) -> float:
    """Seconds per step of the bare loop."""
    chosen = list(islice(batches.epoch(epoch), STEPS))
    began = time.perf_counter()
    for batch in chosen:
        bare_loop.step(batch)
    return (time.perf_counter() - began) / len(chosen)
