"""Trials under Ray Tune: a class trial that follows a run, the searcher that hands out a ledger's trials, the schedulers.

A class, not Tune's usual function: a function that is stopped early is killed with its training, and `cleanup` of a class lets the run end by itself,
with a checkpoint and a bundle.
"""

from __future__ import annotations

import logging
import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ray import cloudpickle, tune
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, PopulationBasedTraining
from ray.tune.search import Searcher

from cluster.environment import quiet_logging
from tune.proposals import Ledger, Repeats
from tune.sweep_file import Sweep
from tune.trial_run import STOP, PopulationRun, SweepPlace, Told, TrialRun, validations
from tune.trials import Record, Trial, append_trial, end_trial
from workloads.recipe import Recipe
from workloads.training.workers import last_line

LOSS, EPOCH = "loss", "epoch"
NAMES = "tune/names"  # folder: which of the sweep's trials a trial of Tune is. Its configuration says so only at first: pbt copies it to others
END_TIMEOUT_S = 600

Show = Callable[[str], None]


class Run(Protocol):
    """What a trial follows."""

    def next(self) -> Told | None: ...
    def end(self) -> None: ...


MakeRun = Callable[[SweepPlace, Trial], Run]


class TrainingTrial(tune.Trainable):  # type: ignore[misc]
    """One trial, as an actor of Tune's."""

    def setup(self, config: dict[str, Any], place: SweepPlace, make_run: MakeRun) -> None:
        note = place.folder / NAMES / self.trial_id
        if not note.exists():
            note.write_text(config["trial"]["name"], encoding="utf-8")
        name = note.read_text(encoding="utf-8")
        trial = Trial(name=name, values=config["trial"]["values"])
        self._last: dict[str, float] = {EPOCH: 0, LOSS: 1e9}
        for told in validations(place, trial.folder(place.folder)):  # by an actor that was paused or lost
            self._last = {EPOCH: told.epoch, LOSS: told.loss}
        self._run: Run = make_run(place, trial)

    def step(self) -> dict[str, Any]:
        told = self._run.next()
        if told is None:
            return {**self._last, "done": True}
        self._last = {EPOCH: told.epoch, LOSS: told.loss}
        return self._last

    def cleanup(self) -> None:
        self._run.end()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        assert isinstance(self._run, PopulationRun)
        self._run.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:
        assert isinstance(self._run, PopulationRun)
        self._run.load(Path(checkpoint))


class LedgerSearcher(Searcher):  # type: ignore[misc]
    """Hands Tune the trials of a ledger, and the ledger their losses."""

    def __init__(self, ledger: Ledger | Repeats, folder: Path) -> None:
        super().__init__(metric=LOSS, mode="min")
        self._ledger, self._folder = ledger, folder
        self._trials: dict[str, Trial] = {}
        self._lowest: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        trial = self.take()
        if trial is None:
            return str(Searcher.FINISHED)
        self._trials[trial_id] = trial
        return configuration(trial)

    def take(self) -> Trial | None:
        """The ledger's next trial, which is in the list on disk from now on."""
        found = self._ledger.next()
        if found is None:
            return None
        trial, new = found
        if new:
            append_trial(self._folder, trial)
        return trial

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._lowest[trial_id] = min(result[LOSS], self._lowest.get(trial_id, float("inf")))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if result:
            self.on_trial_result(trial_id, result)
        self._ledger.tell(self._trials[trial_id], None if error else self._lowest.get(trial_id))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is resumed from its own list."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""


def configuration(trial: Trial) -> dict[str, Any]:
    """What Tune hands to a trial."""
    return {"trial": {"name": trial.name, "values": dict(trial.values)}}


class Telling(tune.Callback):  # type: ignore[misc]
    """Shows how trials go, and notes why one failed."""

    def __init__(self, sweep: Sweep, folder: Path, show: Show) -> None:
        self._sweep, self._folder, self._show = sweep, folder, show
        self._epochs: dict[str, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune writes its callbacks to its folder, where nobody reads them again; what shows may hold a terminal or a process."""
        return {name: value for name, value in self.__dict__.items() if name != "_show"}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        if result[EPOCH] > self._epochs.get(trial.trial_id, 0):  # the end repeats the last, a restart all that were validated before
            self._epochs[trial.trial_id] = result[EPOCH]
            score = self._sweep.loss(result[LOSS])  # the loss of a loss is the score again
            self._show(f"trial {self._name(trial)}: epoch {result[EPOCH]}, {self._sweep.metric} {score:.2f}")

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._show(f"trial {self._name(trial)}: ended")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._show(f"trial {self._name(trial)}: failed, is started again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        if (self._folder / STOP).exists():
            return
        name = self._name(trial)
        end_trial(Trial(name=name, values={}).folder(self._folder), "failed", reason=reason_of(trial))
        self._show(f"trial {name}: failed ({reason_of(trial)})")

    def _name(self, trial: Any) -> str:
        note = self._folder / NAMES / trial.trial_id
        return note.read_text(encoding="utf-8") if note.exists() else str(trial.config["trial"]["name"])


def reason_of(trial: Any) -> str:
    """What a failed trial died of, in a line."""
    file = trial.pickled_error_file  # Tune's own: what `get_pickled_error` reads is a copy, which may be on its way still
    error = cloudpickle.loads(Path(file).read_bytes()) if file and Path(file).is_file() else trial.get_pickled_error()
    cause = getattr(error, "cause", None) or error
    return last_line(cause) if cause is not None else "the trial's process died"


class Stopped(tune.Stopper):  # type: ignore[misc]
    """Ends the sweep when its stop file appears."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._file.exists()


@dataclass(frozen=True, kw_only=True)
class Placing:
    """Where trials run. at_once: trials that train at a time; resources: what a trial's own process needs (its Ray Train workers ask for theirs)."""

    at_once: int
    resources: dict[str, float]


def placing(recipe: Recipe, sweep: Sweep, *, cpus: float, gpus: float) -> Placing:
    """As many trials as have room, Ray Data's CPU beside the workers of each included; or as the sweep says."""
    options = recipe.train
    if options.num_workers == 0:
        resources = {"CPU": options.cpus_per_worker} | ({"GPU": options.gpus_per_worker} if options.gpus_per_worker else {})
        room = min(cpus // options.cpus_per_worker, gpus // options.gpus_per_worker if options.gpus_per_worker else cpus)
    else:
        resources = {"CPU": 0.01}
        room = (cpus - 0.5) // (options.num_workers * options.cpus_per_worker + 1)
        room = min(room, gpus // (options.num_workers * options.gpus_per_worker)) if options.gpus_per_worker else room
    return Placing(at_once=max(1, int(min(sweep.budget.at_once or room, room, sweep.budget.trials))), resources=resources)


def make_scheduler(sweep: Sweep, records: Sequence[Record], epochs: int) -> Any:
    """The scheduler, told of the trials that ended in earlier starts."""
    options = sweep.scheduler
    if options.name == "none":
        return FIFOScheduler()
    if options.name == "pbt":
        random.seed(sweep.searcher.seed)  # pbt draws from the global generators
        np.random.seed(sweep.searcher.seed)
        generator = np.random.default_rng([sweep.searcher.seed, 1])
        draws = {key: (list(span.choices) if span.choices is not None else lambda span=span: span.draw(generator)) for key, span in sweep.space.items()}
        return PopulationBasedTraining(
            time_attr=EPOCH,
            metric=LOSS,
            mode="min",
            perturbation_interval=options.interval_epochs,
            hyperparam_mutations={"trial": {"values": draws}},
            custom_explore_fn=partial(explored, sweep),
            quantile_fraction=options.quantile,
            resample_probability=options.resample,
            synch=True,
        )
    scheduler = AsyncHyperBandScheduler(
        time_attr=EPOCH, metric=LOSS, mode="min", max_t=epochs, grace_period=min(options.grace_epochs, epochs), reduction_factor=options.reduction_factor
    )
    for record in records:
        ended = _Ended(trial_id=f"before-{record.trial.name}")
        scheduler.on_trial_add(None, ended)
        for epoch, loss in record.losses.items():
            scheduler.on_trial_result(None, ended, {EPOCH: epoch, LOSS: loss})
    return scheduler


@dataclass(frozen=True)
class _Ended:
    """As much of a trial as ASHA looks at."""

    trial_id: str


def explored(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any]:
    """What pbt has changed, within the spans."""
    return {"trial": {**config["trial"], "values": {key: inside(sweep, key, value) for key, value in config["trial"]["values"].items()}}}


def inside(sweep: Sweep, key: str, value: Any) -> Any:
    """A changed value within its span: pbt multiplies by 0.8 or 1.2, wherever that leads."""
    span = sweep.space[key]
    return value if span.choices is not None else span.number(value)


def run_trials(
    place: SweepPlace, ledger: Ledger | Repeats, scheduler: Any, placed: Placing, *, show: Show, make_run: MakeRun = TrialRun, metric: bool = True
) -> None:
    """Train the ledger's trials until they have ended or the sweep's stop file appears; what became of them is in their folders."""
    quiet_logging()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # what fails is told by `Telling`
    sweep, population = place.sweep, isinstance(scheduler, PopulationBasedTraining)
    (place.folder / NAMES).mkdir(parents=True, exist_ok=True)
    # Tune's pbt takes no searcher: its trials are listed before they start.
    listed = list(iter(LedgerSearcher(ledger, place.folder).take, None)) if population else []
    trainable = tune.with_parameters(TrainingTrial, place=place, make_run=make_run)
    tuner = tune.Tuner(
        tune.with_resources(trainable, placed.resources),
        param_space={"trial": tune.grid_search([configuration(trial)["trial"] for trial in listed])} if population else None,
        tune_config=tune.TuneConfig(
            **({} if isinstance(scheduler, PopulationBasedTraining | AsyncHyperBandScheduler) else {"metric": LOSS, "mode": "min"}),
            num_samples=1 if population else ledger.remaining,
            search_alg=None if population else LedgerSearcher(ledger, place.folder),
            scheduler=scheduler,
            max_concurrent_trials=None if population else placed.at_once,
            time_budget_s=sweep.budget.hours * 3600 if sweep.budget.hours else None,
        ),
        run_config=tune.RunConfig(
            # A new name for each start: we resume from our own list.
            name=f"start-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}",
            storage_path=str(place.folder / "tune"),
            verbose=0,
            stop=Stopped(place.folder / STOP),
            failure_config=tune.FailureConfig(max_failures=sweep.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a run has checkpoints of its own
            callbacks=[Telling(sweep, place.folder, show)],
        ),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consider boosting PBT performance")  # a trial's process isn't worth keeping
        tuner.fit()
