"""What more workers cost and gain on this machine, and what that means for 8, 64 and 512 of them: computed from measured pieces, and labelled so."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from itertools import pairwise

import psutil

from cluster.ray_cluster import num_cores
from tests.benchmarks.bench_failures import recorded
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from tests.integration.cluster.record import FIGURES
from workloads.recipe import load_recipe
from workloads.training import run
from workloads.training.checkpoints import CHECKPOINTS, WEIGHTS, checkpoints
from workloads.training.events import EVENTS, read_events

CLIPS = 8  # of a step, by all workers together
WORKERS = (1, 2, 4)
MANY = (8, 64, 512)
BOUND = 0.9  # share of the cores that are busy where they are what a step waits for
SKIPPED = 3  # first steps of a run, in which memory is allocated
LINK_GBIT, LATENCY_S = 10.0, 50e-6  # of the network between hosts in the computed figures
LOSSES_PER_NODE_AND_YEAR = 12.0
CHECKPOINT_EVERY_S = 600.0
LOST_NODE = "power cut of one of two hosts, elastic: until the next step, with the rest"


def measure(bench: Bench) -> list[Figure]:
    """Steps by 1, 2 and 4 workers, and the computed figures."""
    runs = {workers: _steps(bench, workers) for workers in WORKERS}
    seconds, busy = ({workers: run[part] for workers, run in runs.items()} for part in range(2))
    size = (checkpoints(bench.folder / "workers1" / CHECKPOINTS)[0] / WEIGHTS).stat().st_size
    return [*_overhead(seconds, busy), *_computed(statistics.median(seconds[1]) / CLIPS, size, recorded(FIGURES))]


def _steps(bench: Bench, workers: int) -> tuple[list[float], float]:
    """Seconds of the steps of a run of one epoch: from one event to the next, whatever the loop does between; and how many cores were busy in that time."""
    settings = (
        f"data.shards={bench.shards()}",
        f"run.root={bench.folder}",
        f"run.name=workers{workers}",
        f"train.num_workers={workers}",
        f"train.batch_size={CLIPS // workers}",
        "train.epochs=1",
        "tracking.register_as=null",
    )
    recipe, folder = run.new_run(load_recipe("mska_slr_small", settings))
    with (bench.folder / f"workers{workers}.log").open("w") as log, redirect_stdout(log), busy_seconds() as busy:
        run.train(recipe, folder)
    times = [event["time"] for event in read_events(folder / EVENTS) if event["kind"] == "step"]
    begin, end = times[SKIPPED], times[-1]
    used = [seconds for moment, seconds in busy if begin <= moment <= end]
    return [later - earlier for earlier, later in pairwise(times)][SKIPPED:], (used[-1] - used[0]) / (end - begin) if used else 0.0


@contextmanager
def busy_seconds(every_s: float = 0.25) -> Iterator[list[tuple[float, float]]]:
    """Moments, and how long the machine's cores, together, have worked until then; taken down by a thread."""
    found: list[tuple[float, float]] = []
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(every_s):
            spent = psutil.cpu_times()
            found.append((time.time(), sum(spent) - spent.idle - getattr(spent, "iowait", 0.0)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ending.set()
        thread.join()


def _overhead(seconds: dict[int, list[float]], busy: dict[int, float]) -> Iterator[Figure]:
    alone = statistics.median(seconds[1])
    for workers in WORKERS[1:]:
        ideal = alone / min(workers, num_cores())
        bound = "the cores" if busy[workers] > BOUND * num_cores() else "what workers wait for, each other at the gradients' sum first"
        used = f"{busy[workers]:.1f} of {num_cores()} cores busy (one worker: {busy[1]:.1f})"
        yield Figure(
            name=f"step of {CLIPS} clips, {workers} workers / one worker's divided by the cores that they have",
            rounds=tuple(value / ideal for value in seconds[workers]),
            note=f"{1000 * statistics.median(seconds[workers]):.0f} ms against {1000 * alone:.0f} ms of one worker; {used}: bound by {bound}",
        )


def _computed(clip_s: float, weight_bytes: int, failures: list[Figure]) -> Iterator[Figure]:
    """A worker per host, one clip a worker and step; the sum of gradients in a ring: 2(N-1)/N of them over the link, 2(N-1) waits."""
    outage = next((figure.median for figure in failures if figure.name == LOST_NODE), None)
    for workers in MANY:
        ring = 2 * (workers - 1) / workers * weight_bytes * 8 / (LINK_GBIT * 1e9) + 2 * (workers - 1) * LATENCY_S
        made_of = (
            f"{1000 * clip_s:.0f} ms of arithmetic, {1000 * ring:.1f} ms for {weight_bytes / 1e6:.1f} MB at {LINK_GBIT:g} Gbit/s and 50 µs; nothing overlaps"
        )
        yield Figure(name=f"computed, not measured: step of {workers} workers / of one, each with its clip", rounds=((clip_s + ring) / clip_s,), note=made_of)
        if outage is not None:
            lost = workers * LOSSES_PER_NODE_AND_YEAR * (outage + CHECKPOINT_EVERY_S / 2) / (365 * 86400)
            note = f"{LOSSES_PER_NODE_AND_YEAR:g} losses a node and year, {outage:.0f} s each and half of the {CHECKPOINT_EVERY_S:g} s between checkpoints"
            yield Figure(name=f"computed, not measured: time that lost nodes cost {workers} workers", rounds=(100 * lost,), unit="%", note=note)
