"""Very many shard files: the time to the first batch of 10,000 files over that of 100, on a Ray of its own, each round a new pass over the same files.

Each file holds eight recordings and is one file under many names: opening and listing is what is measured, not the disk.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import psutil

from cluster.environment import quiet_logging, quiet_ray_data
from cluster.ray_cluster import connect
from tests.benchmarks.figure import Figure
from tests.benchmarks.many_files import FirstBatch, first_batch, first_clip, many_files
from tests.benchmarks.stack import Bench

FEW, MANY, ROUNDS = 100, 10_000, 5


def measure(bench: Bench) -> list[Figure]:
    """Seconds to the first batch, and the threads of the process that has most of them."""
    few, many, rounds = (2, 4, 1) if bench.quick else (FEW, MANY, ROUNDS)
    folders = {count: many_files(bench.folder / f"files{count}", count) for count in (few, many)}
    cluster: AbstractContextManager[object] = nullcontext() if bench.quick else connect(num_cpus=4, driver_logs=False)
    with cluster:
        found = _passes(folders, rounds, first_clip if bench.quick else _through_ray)
    told = "; ".join(
        f"{count:,} files {statistics.median(each.seconds for each in passes):.2f} s, at most {max(each.threads for each in passes)} threads in a process"
        for count, passes in found.items()
    )
    ratio = tuple(a.seconds / b.seconds for a, b in zip(found[many], found[few], strict=True))
    return [Figure(name=f"files, first batch of {many:,} / of {few:,} shard files", rounds=ratio, note=told)]


def _passes(folders: dict[int, Path], rounds: int, read: Callable[[Path], FirstBatch]) -> dict[int, list[FirstBatch]]:
    read(folders[min(folders)])  # starts the workers
    found: dict[int, list[FirstBatch]] = {count: [] for count in folders}
    for _ in range(rounds):
        for count, folder in folders.items():
            found[count].append(read(folder))
    return found


def _through_ray(folder: Path) -> FirstBatch:
    quiet_logging()
    quiet_ray_data()
    return first_batch(folder, psutil.Process())
