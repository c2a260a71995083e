"""A measurement inside a worker of the whole stack: `workloads.training.run.train` as a user starts it, with the worker's loop replaced by a measured one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from cluster.deepspeed_engine import single_process_group
from cluster.environment import quiet_logging
from models.batch import Batch
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.recipe import Recipe, load_recipe, parse_recipe
from workloads.shards import ShardSet
from workloads.training import run, workers
from workloads.training.batches import ClipSource, EpochBatches
from workloads.training.loop import Outcome, Setting, Training
from workloads.training.preflight import task_of
from workloads.training.session import LocalSession, RaySession, Session

OUTPUT = "measured.json"
Measurement = Callable[[Recipe, Setting, Session], Any]
SMALLEST = (
    "network.blocks=[[4, 4, 2, 3, 2], [4, 8, 2, 3, 2]]",
    "network.num_subsets=2",
    "network.head.hidden_size=16",
    "network.head.ff_size=16",
    "train.batch_size=2",
    "validation.batch_size=2",
)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where a benchmark works and how much. quick: a tiny network, in this process without Ray, to see that the code runs."""

    folder: Path
    quick: bool = False

    def shards(self) -> Path:
        """Synthetic shards with clips of 94 frames in the mean; made once."""
        out = self.folder / "shards"
        train, dev = (12, 2) if self.quick else (256, 8)
        sizes = {"num_train": train, "num_dev": dev, "num_test": 0, "num_signer_independent": 0, "max_glosses": 5}
        preprocess(PreprocessOptions(corpus="synthetic", out=out, settings={key: str(value) for key, value in sizes.items()}))
        return out

    def measure(self, measurement: Measurement, name: str, overrides: tuple[str, ...] = ()) -> Any:
        """Run `measurement` (a function of a module) in the only worker of a training with `mska_slr_small`; what it returned, through JSON."""
        settings = (
            f"data.shards={self.shards()}",
            f"run.root={self.folder}",
            f"run.name={name}",
            "train.max_failures=0",
            *(SMALLEST if self.quick else ()),
            *overrides,
        )
        recipe, folder = run.new_run(load_recipe("mska_slr_small", settings))
        if self.quick:
            return _in_process(measurement, recipe, folder)
        with (folder / "output.log").open("w") as log, redirect_stdout(log), mock.patch.object(workers, "_worker", _Worker(measurement)):
            run.train(recipe, folder)
        return json.loads((folder / OUTPUT).read_text())


@dataclass(frozen=True)
class _Worker:
    """The function of a Ray Train worker; stands in for `workers._worker`."""

    measurement: Measurement

    def __call__(self, config: dict[str, Any]) -> Outcome:
        quiet_logging()
        recipe, setting = parse_recipe(config["recipe"], where="the run's recipe"), config["setting"]
        measured = self.measurement(recipe, setting, RaySession(train_clips=config["train_clips"]))
        (setting.folder / OUTPUT).write_text(json.dumps(measured))
        return Outcome(step=0, finished=False)  # no bundle is written


def _in_process(measurement: Measurement, recipe: Recipe, folder: Path) -> Any:
    shards = ShardSet.open(Path(recipe.data.shards))
    setting = Setting(folder=folder, task=task_of(recipe, shards))
    with single_process_group():
        return measurement(recipe, setting, LocalSession(shards, train_split=recipe.data.train_split, dev_split=recipe.data.dev_split))


@dataclass(frozen=True, kw_only=True)
class Span:
    """Seconds of wall clock and of this process's CPU time."""

    wall: float
    cpu: float

    def __add__(self, other: Span) -> Span:
        return Span(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)

    def __sub__(self, other: Span) -> Span:
        return Span(wall=self.wall - other.wall, cpu=self.cpu - other.cpu)


def now() -> Span:
    return Span(wall=time.perf_counter(), cpu=time.process_time())


class Watcher:
    """Looks on at a training, window by window; what it does in between isn't counted."""

    def starting(self, epoch: int) -> None:
        """An epoch begins."""

    def before(self, batches: list[Batch]) -> None:
        """These batches come next."""

    def after(self, batches: list[Batch], waited: Span, taken: Span) -> None:
        """The training has taken a step with each of them: `taken` in all, `waited` of it for data."""


@dataclass(kw_only=True)
class WatchedBatches:
    """The batches of a `Training`, and what its steps cost, `window` steps at a time.

    Counted is all from the request for the first batch of a window to the request for the first of the next: waiting for data, arithmetic, optimiser, event
    log, whatever the loop does between. The last window of an epoch has no next request and isn't told.
    """

    inner: EpochBatches
    window: int
    watcher: Watcher

    @property
    def source(self) -> ClipSource:
        return self.inner.source

    @property
    def num_batches(self) -> int:
        return self.inner.num_batches

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        self.watcher.starting(epoch)
        stream = self.inner.epoch(epoch, skip=skip)
        while True:
            asked = now()
            batches = list(islice(stream, self.window))
            waited = now() - asked
            if not batches:
                return
            self.watcher.before(batches)
            began = now()
            yield from batches
            self.watcher.after(batches, waited, waited + (now() - began))


def train_watched(recipe: Recipe, setting: Setting, session: Session, watcher: Watcher, *, window: int) -> None:
    """Train by the recipe with a watcher."""
    with closing(Training(recipe, setting, session)) as training:
        training.batches = WatchedBatches(inner=training.batches, window=window, watcher=watcher)  # type: ignore[assignment]
        training.run()
