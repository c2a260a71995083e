"""A trial's training: the run that train.py makes, told epoch by epoch, ended early where the scheduler says so, with its bundle either way."""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from cluster.tracking import MlflowTracker
from models.errors import CheckpointError, TrainingError
from tune.sweep_file import Sweep
from tune.trials import Trial, end_trial, loss_of, note_values
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training.checkpoints import CHECKPOINTS, newest_intact, read_position
from workloads.training.events import EVENTS, Event, read_events
from workloads.training.faults import clear_fault
from workloads.training.folders import BUNDLE, write_recipe
from workloads.training.loop import STOP_FILE, Outcome
from workloads.training.preflight import preflight
from workloads.training.run import Result, finish, run_workers
from workloads.training.tracked import tracked

STOP = "stop"  # a file in the sweep's folder: the whole sweep is being stopped, to be resumed


@dataclass(frozen=True, kw_only=True)
class SweepPlace:
    """What every trial of a sweep knows. folder: the sweep's; parent: its run in MLflow, None where the server was away."""

    sweep: Sweep
    recipe: Recipe
    folder: Path
    parent: str | None = None

    def tags(self, trial: Trial) -> dict[str, str]:
        parent = {"mlflow.parentRunId": self.parent} if self.parent else {}
        values = ", ".join(f"{key} {value}" for key, value in trial.values.items())
        return {"mlflow.runName": f"{self.folder.name}/{trial.name}", "signray.sweep": self.folder.name, "mlflow.note.content": values, **parent}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A validation: epochs done, and what is minimised."""

    epoch: int
    loss: float


class TrialRun:
    """The run of a trial. `next` gives its validations, first those that a killed start left; training goes on meanwhile, in a thread."""

    def __init__(self, place: SweepPlace, trial: Trial) -> None:
        self._place, self._trial = place, trial
        self._folder = trial.folder(place.folder)
        self._recipe = prepared(place, trial)
        self._known = validations(place, self._folder)
        self._told: queue.SimpleQueue[Told | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._train, name="trial", daemon=True)
        self._started = self._given_up = False

    def next(self) -> Told | None:
        """The next validation, or None at the end, when the bundle is written. Raises what the training raises."""
        for told in self._known:
            return told
        if not self._started:
            self._started = True
            self._thread.start()
        told_or_error = self._told.get()
        if isinstance(told_or_error, BaseException):
            raise told_or_error
        return told_or_error

    def end(self) -> None:
        """End the training at its next step, if it goes on: with a bundle of its best checkpoint, or, where the whole sweep is stopped, to be resumed."""
        if not self._started and (self._place.folder / STOP).exists():
            return
        self._given_up = not (self._place.folder / STOP).exists()
        (self._folder / STOP_FILE).touch()
        if not self._started:  # the scheduler judged what a killed start had left
            self._started = True
            self._thread.start()
        self._thread.join()
        (self._folder / STOP_FILE).unlink(missing_ok=True)

    def _train(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._told.put(error)
        else:
            self._told.put(None)

    def _run(self) -> None:
        shards = opened(self._recipe, self._folder)
        with tracked(self._recipe, self._folder, shards, store=self._place.folder.parent, tags=self._place.tags(self._trial)) as tracker:
            outcome, seconds = run_workers(self._recipe, self._folder, shards, tracker, label=self._trial.name, listeners=[self._hear])
            early = self._given_up and not outcome.finished and not outcome.fault
            settle(self._recipe, self._folder, shards, tracker, replace(outcome, finished=outcome.finished or early), seconds, early=early)

    def _hear(self, event: Event) -> None:
        if event["kind"] == "validation":
            self._told.put(Told(epoch=event["epoch"] + 1, loss=loss_of(self._place.sweep, event)))


class PopulationRun:
    """The run of a member of a population: `next` trains until the next change, and its weights can be handed to another between two of them."""

    def __init__(self, place: SweepPlace, trial: Trial) -> None:
        self._place, self._trial = place, trial
        self._folder = trial.folder(place.folder)
        self._recipe = prepared(place, trial)
        self._shards = opened(self._recipe, self._folder)
        self._stack = ExitStack()
        self._tracker: MlflowTracker | None = None

    def next(self) -> Told | None:
        """The validation at the end of the next interval, or None at the end, when the bundle is written. Raises what the training raises."""
        if self._tracker is None:
            tags = self._place.tags(self._trial)
            self._tracker = self._stack.enter_context(tracked(self._recipe, self._folder, self._shards, store=self._place.folder.parent, tags=tags))
            note_values(self._folder, self.epoch, self._trial.values)
        if self.epoch >= self._recipe.train.epochs:
            settle(self._recipe, self._folder, self._shards, self._tracker, Outcome(step=0, finished=True), 0.0)
            return None
        until = self.epoch + self._place.sweep.scheduler.interval_epochs
        outcome, _ = run_workers(self._recipe, self._folder, self._shards, self._tracker, label=self._trial.name, until_epoch=until)
        if outcome.fault:
            raise TrainingError(outcome.fault)
        return list(validations(self._place, self._folder))[-1]

    @property
    def epoch(self) -> int:
        """Epochs that are done, by the newest checkpoint."""
        newest = newest_intact(self._folder / CHECKPOINTS)[0]
        return read_position(newest).epoch if newest else 0

    def save(self, destination: Path) -> None:
        """The newest checkpoint, for another member or for this one later."""
        newest = newest_intact(self._folder / CHECKPOINTS)[0]
        if newest is None:
            raise CheckpointError(f"{self._folder}: no checkpoint was written, so nothing can be handed on")
        shutil.copytree(newest, destination / newest.name, dirs_exist_ok=True)

    def load(self, source: Path) -> None:
        """Go on from what `save` wrote, of this member or another, in place of what was trained before."""
        shutil.rmtree(self._folder / CHECKPOINTS, ignore_errors=True)
        shutil.copytree(source, self._folder / CHECKPOINTS)

    def end(self) -> None:
        """Let go of the run; it goes on when it is made anew."""
        self._stack.close()
        self._tracker = None


def prepared(place: SweepPlace, trial: Trial) -> Recipe:
    """The trial's recipe, written into its folder."""
    folder = trial.folder(place.folder)
    folder.mkdir(parents=True, exist_ok=True)
    return write_recipe(trial.recipe(place.recipe), folder)


def opened(recipe: Recipe, folder: Path) -> ShardSet:
    """The shards, looked at as `train` does before a start."""
    clear_fault(folder)
    (folder / STOP_FILE).unlink(missing_ok=True)
    shards = ShardSet.open(recipe.data.shards)
    preflight(recipe, shards)
    return shards


def settle(recipe: Recipe, folder: Path, shards: ShardSet, tracker: MlflowTracker, outcome: Outcome, seconds: float, *, early: bool = False) -> None:
    """Plots and, where it came to an end, the bundle and the note of it."""
    if outcome.finished:
        tracker.set_tags({"signray.ended": "stopped early" if early else "finished"})
    finish(Result(folder=folder, outcome=outcome, exit_code=0, seconds=seconds), recipe, shards, tracker)
    if outcome.finished:
        assert (folder / BUNDLE).exists()
        end_trial(folder, "stopped early" if early else "finished", seconds=seconds)


def validations(place: SweepPlace, folder: Path) -> Iterator[Told]:
    """Those that the run's folder holds."""
    for event in read_events(folder / EVENTS):
        if event["kind"] == "validation":
            yield Told(epoch=event["epoch"] + 1, loss=loss_of(place.sweep, event))


def best_recipe(recipe: Recipe, trial: Trial, *, name: str, head: str) -> str:
    """YAML of the recipe with a trial's values, that train.py takes; `head`: comment lines."""
    values = trial.recipe(recipe).dump()
    values |= {"recipe": name, "run": {**values["run"], "name": None}, "tracking": {**values["tracking"], "register_as": recipe.tracking.register_as}}
    return "".join(f"# {line}\n" for line in head.splitlines()) + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
