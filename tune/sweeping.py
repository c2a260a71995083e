"""A sweep from the driver's side: its folder, its trials on the cluster, its run in MLflow, and what it ends with."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from cluster.ray_cluster import connect, num_cores
from cluster.signals import StopRequest
from cluster.tracking import MlflowTracker
from models.errors import RecipeError, TrainingError
from tune.proposals import Ledger, Repeats
from tune.study import check_storage, copied, earlier_trials
from tune.sweep_file import Sweep, parse_sweep
from tune.sweep_report import write_report
from tune.trial_run import STOP, PopulationRun, SweepPlace, TrialRun
from tune.trials import Record, Trial, read_record, read_trials
from workloads.recipe import Recipe
from workloads.recipe_values import read_values
from workloads.shards import ShardSet
from workloads.training.folders import old_run
from workloads.training.run import alone, new_run
from workloads.training.stored_runs import shown, stored
from workloads.training.tracked import artifacts_place, flat, log_shards

SWEEP_FILE = "sweep.yaml"
Show = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """What a sweep left. winner: None where no trial had a score; repeats: the winner's values with other seeds; exit_code: of a stop by a signal."""

    folder: Path
    sweep: Sweep
    records: tuple[Record, ...]
    winner: Record | None
    repeats: tuple[Record, ...] = ()
    exit_code: int = 0

    @property
    def finished(self) -> bool:
        return not self.exit_code and all(record.ended for record in (*self.records, *self.repeats))

    @property
    def seed_scores(self) -> list[float]:
        """Scores of the winner's values, by seed."""
        return [self.sweep.loss(record.loss) for record in (self.winner, *self.repeats) if record is not None and record.loss is not None]

    @property
    def mean_and_spread(self) -> tuple[float, float] | None:
        """Mean and sample standard deviation over the seeds; None with fewer than two."""
        scores = self.seed_scores
        return (statistics.mean(scores), statistics.stdev(scores)) if len(scores) > 1 else None


def new_sweep(sweep: Sweep, recipe: Recipe, *, name: str) -> tuple[Recipe, Path]:
    """Make the folder of a new sweep, with its file and the recipe that it varies. Raises RecipeError where the name is taken or the shards don't fit."""
    check_storage(sweep)
    if not recipe.run.name:
        recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"name": f"sweep-{name}-{time.strftime('%Y%m%d-%H%M%S')}"})})
    recipe, folder = new_run(recipe)
    values = sweep.model_dump(mode="json", exclude_defaults=True) | {"metric": sweep.metric}
    (folder / SWEEP_FILE).write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return recipe, folder


def old_sweep(name: str) -> tuple[Sweep, Recipe, Path]:
    """A sweep that is to be continued. Raises RecipeError where there is none."""
    recipe, folder = old_run(name)
    place = shown(recipe, folder)
    if not (place / SWEEP_FILE).exists():
        raise RecipeError(f"{place} holds one training and no sweep: continue it with python workloads/train.py --resume {place}")
    return parse_sweep(read_values(place / SWEEP_FILE), recipe, where=str(place / SWEEP_FILE)), recipe, folder


def run_sweep(sweep: Sweep, recipe: Recipe, folder: Path, *, show: Show = print) -> SweepResult:
    """Train what isn't trained yet of a sweep's trials, repeat the winner with other seeds, and write table, plots and the best recipe.

    Raises TrainingError where every trial failed or another process runs the sweep, RecipeError where pbt has no room for its trials.
    """
    with alone(folder), stored(recipe, folder), _tracked(sweep, recipe, folder) as tracker:
        tracker.flush(force=True)
        place = SweepPlace(sweep=sweep, recipe=recipe, folder=folder, parent=tracker.run_id)
        with copied(sweep, folder, show, place=shown(recipe, folder)):
            exit_code = _train_all(place, show)
        result = collected(place, exit_code)
        if result.winner is None and result.finished:
            reasons = [record.reason for record in result.records if record.reason]
            raise TrainingError(f"no trial of {folder} has a score{f'; the first that failed: {reasons[0]}' if reasons else ''}")
        write_report(result, recipe, tracker)
    return result


def collected(place: SweepPlace, exit_code: int = 0) -> SweepResult:
    """What the sweep's folder holds."""
    records = tuple(read_record(place.sweep, place.folder, trial) for trial in read_trials(place.folder))
    winner = best_of(records)
    repeats = tuple(read_record(place.sweep, place.folder, trial) for trial in repeated(place, winner)) if winner else ()
    return SweepResult(folder=place.folder, sweep=place.sweep, records=records, winner=winner, repeats=repeats, exit_code=exit_code)


def best_of(records: Sequence[Record]) -> Record | None:
    """The lowest loss among trials that came to their end; among the others where none did. Of equal ones the first."""
    scored = [record for record in records if record.loss is not None and record.status != "failed"]
    whole = [record for record in scored if record.status == "finished"]
    return min(whole or scored, key=lambda record: record.loss or 0.0, default=None)


def repeated(place: SweepPlace, winner: Record) -> list[Trial]:
    """The winner's values with other seeds."""
    return [Trial(name=f"seed-{number}", values={**winner.trial.values, "seed": place.recipe.seed + number}) for number in range(1, place.sweep.seeds)]


def _train_all(place: SweepPlace, show: Show) -> int:
    """All trials on the cluster; the exit status of a stop by a signal, 0 otherwise."""
    from tune.on_ray import make_scheduler, placing, run_trials

    sweep, recipe, options = place.sweep, place.recipe, place.recipe.train
    before = collected(place)
    if before.finished and len(before.records) >= sweep.budget.trials:
        return 0
    each = max(1.0, options.num_workers) * options.cpus_per_worker
    room = max(1, int(min(sweep.budget.at_once or num_cores() // each, sweep.budget.trials)))
    for_data = 1 if options.num_workers else 0  # Ray Data's CPU beside the workers of each trial
    # A stopped trial whose process was killed holds its workers until Tune's cleaner has asked the dashboard.
    with (
        connect(num_cpus=math.ceil(room * (each + for_data)) + for_data, dashboard=True, threads=options.threads, driver_logs=False) as cluster,
        StopRequest(place.folder / STOP) as stop,
        ThreadPoolExecutor(max_workers=1, thread_name_prefix="tune") as pool,  # in the main thread Tune's handlers would take the place of ours
    ):
        placed = placing(recipe, sweep, cpus=cluster.num_cpus, gpus=cluster.num_gpus)
        show(f"{'started a private Ray cluster' if cluster.private else 'connected to Ray'} at {cluster.address}; {placed.at_once} trials at once")
        population = sweep.scheduler.name == "pbt"
        if population and options.num_workers and placed.at_once < sweep.budget.trials:
            raise RecipeError(
                f"scheduler pbt trains all {sweep.budget.trials} trials at once, and there is room for {placed.at_once}: "
                "lower budget.trials, or train each in its trial's own process with --set train.num_workers=0"
            )
        longest = _longest(sweep, recipe)
        ledger = Ledger(sweep, before.records, earlier_trials(sweep, shown(recipe, place.folder), show))
        make_run = PopulationRun if population else TrialRun
        scheduler = make_scheduler(sweep, before.records, longest)
        pool.submit(run_trials, place, ledger, scheduler, placed, show=show, make_run=make_run).result()
        winner = collected(place).winner
        waiting = [trial for trial in repeated(place, winner) if not read_record(sweep, place.folder, trial).ended] if winner else []
        if waiting and not stop.signal_number:
            show(f"trial {winner.trial.name if winner else ''} is the best; its values are repeated with {len(waiting)} other seeds")
            whole = sweep.model_copy(update={"scheduler": sweep.scheduler.model_copy(update={"name": "none"})})
            pool.submit(run_trials, place, Repeats(waiting), make_scheduler(whole, (), longest), placed, show=show).result()
    return stop.exit_code


def _longest(sweep: Sweep, recipe: Recipe) -> int:
    """Epochs of the longest trial."""
    span = sweep.space.get("train.epochs")
    return max(span.ends) if span else recipe.train.epochs


@contextmanager
def _tracked(sweep: Sweep, recipe: Recipe, folder: Path) -> Iterator[MlflowTracker]:
    """The sweep's own run in MLflow, which the trials' lie below."""
    shards = ShardSet.open(recipe.data.shards)
    tags = {"signray.sweep": folder.name, "signray.system": recipe.system, "signray.recipe": recipe.recipe, "signray.shards": shards.checksum}
    tracker = MlflowTracker(
        folder, experiment=recipe.tracking.experiment, run_name=folder.name, tracking_uri=recipe.tracking.uri, artifacts=artifacts_place(recipe), tags=tags
    )
    tracker.log_params({f"sweep.{key}": value for key, value in flat(sweep.model_dump(mode="json", exclude_defaults=True)).items()})
    log_shards(tracker, shards)
    tracker.log_artifact(folder / SWEEP_FILE)
    try:
        yield tracker
    except BaseException:
        tracker.close("FAILED")
        raise
    tracker.close("FINISHED" if not (folder / STOP).exists() else "KILLED")
