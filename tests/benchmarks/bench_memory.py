"""Peak resident memory of a training worker, epoch by epoch, while its clips stream in through Ray Data anew in each."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path

from models.batch import Batch
from tests.benchmarks.apart import peak_memory
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench, Span, Watcher, train_watched
from workloads.recipe import Recipe
from workloads.training.loop import Setting
from workloads.training.session import Session

EPOCHS = 3
TRAININGS = 3
# Each epoch's longest batch decides its peak, so clips keep their own lengths: a draw of lengths would hide a leak, or look like one.
SAME_LENGTHS = ("inputs.shortest=1", "inputs.longest=1")


@dataclass
class Watch(Watcher):
    """Peaks in MB of the epochs, with validation and checkpoint; waiting for data and whole time of each step in seconds."""

    peaks: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)

    def starting(self, epoch: int) -> None:
        if epoch:
            self.peaks.append(peak_memory_mb())
        reset_peak_memory()

    def after(self, batches: list[Batch], waited: Span, taken: Span) -> None:
        self.waiting.append(waited.wall)
        self.steps.append(taken.wall)


def watch(recipe: Recipe, setting: Setting, session: Session) -> dict[str, list[float]]:
    """The measurement in the worker."""
    seen = Watch()
    train_watched(recipe, setting, session, seen, window=1)
    return {"peaks": [*seen.peaks, peak_memory_mb()], "waiting": seen.waiting, "steps": seen.steps}


def measure(bench: Bench) -> list[Figure]:
    """The largest peak over the smallest, and what share of the training waits for data that are streamed in every epoch."""
    pool = 4 if bench.quick else 32
    trainings = 1 if bench.quick else TRAININGS
    records = [bench.measure(watch, f"memory{number}", (f"train.epochs={EPOCHS}", f"data.shuffle_pool={pool}", *SAME_LENGTHS)) for number in range(trainings)]
    per_epoch = len(records[0]["steps"]) // EPOCHS
    epochs = [(record, slice(number * per_epoch, (number + 1) * per_epoch)) for record in records for number in range(EPOCHS)]
    starts = [1000 * record["waiting"][epoch][0] for record, epoch in epochs]
    return [
        Figure(
            name=f"memory, largest / smallest peak of a worker in {EPOCHS} epochs",
            rounds=tuple(max(record["peaks"]) / min(record["peaks"]) for record in records),
            at_most=1.05,
            note="; ".join(", ".join(f"{peak:.0f}" for peak in record["peaks"]) for record in records) + " MB resident",
        ),
        Figure(
            name=f"step, share that waits for data streamed in each epoch of {per_epoch + 1} steps",
            rounds=tuple(100 * sum(record["waiting"][epoch]) / sum(record["steps"][epoch]) for record, epoch in epochs),
            unit="%",
            note=f"of it {statistics.median(starts):.0f} ms to an epoch's first batch",
        ),
    ]


def reset_peak_memory() -> None:
    """Forget the peak of this process (Linux; proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Peak resident memory of this process since the last reset, in MB."""
    return peak_memory() / 1e6
