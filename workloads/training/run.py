"""A run from the driver's side: its folder, the workers, tracking, plots, and the bundle at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.metrics import RunMetrics
from cluster.provenance import provenance
from cluster.signals import StopRequest
from cluster.spool import exclusive
from cluster.tracking import Tracker
from models.bundle import Bundle, save_bundle
from models.ensemble import Ensemble
from models.errors import TrainingError
from models.systems import SYSTEMS
from models.translation.language_model import retied
from workloads.bundles import corpus_card
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training.checkpoints import CHECKPOINTS, PREDICTIONS, Position, best_checkpoint, read_weights
from workloads.training.events import EVENTS, Event, EventFollower, read_events
from workloads.training.faults import clear_fault
from workloads.training.folders import BUNDLE, ENDED, make_folder, placed
from workloads.training.loop import STOP_FILE, Outcome, Setting
from workloads.training.plots import draw_plots
from workloads.training.preflight import generate_shards, preflight, steps_in_all, task_of
from workloads.training.progress import Progress
from workloads.training.stored_runs import stored
from workloads.training.tasks import Metric, Task
from workloads.training.tracked import MetricsListener, tracked
from workloads.training.translator_start import completed, tokens_of
from workloads.training.workers import ray_cluster, train_in_process, train_on_ray


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left. bundle is None where it was stopped before its end; dev_scores: of each head in percent, by the metric; seconds: of training."""

    folder: Path
    outcome: Outcome
    exit_code: int
    bundle: Bundle | Ensemble | None = None
    metric: Metric = "wer"
    dev_scores: dict[str, float] | None = None
    seconds: float = 0.0
    version: int | None = None


def new_run(recipe: Recipe) -> tuple[Recipe, Path]:
    """Make the folder of a new run and write the resolved recipe into it. Raises RecipeError where the name is taken or the shards don't fit."""
    init = {name: str(placed(path)) for name, path in recipe.init.items()}  # workers have another working directory
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"shards": str(placed(recipe.data.shards))}), "init": init})
    generate_shards(recipe)
    shards = ShardSet.open(recipe.data.shards)
    recipe = completed(recipe)
    for each in members_of(recipe).values() or [recipe]:
        preflight(each, shards)  # a mistake here shall leave no folder behind
    return make_folder(recipe)


def members_of(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of each member of an ensemble, by name; none where the recipe is of one network."""
    return {name: recipe.member(name) for name in recipe.ensemble.members} if recipe.ensemble else {}


def train(recipe: Recipe, folder: Path) -> Result:
    """Train, or continue what is in `folder`, and write the bundle of the best checkpoint; of an ensemble, the members' and its own.

    Raises TrainingError for a fault of the run, ShardError for one of the shards, ConnectionError where RAY_ADDRESS doesn't answer.
    """
    with alone(folder), stored(recipe, folder):
        clear_fault(folder)
        generate_shards(recipe)
        shards = ShardSet.open(recipe.data.shards)
        if recipe.ensemble is None:
            return _train(recipe, folder, shards)
        from workloads.training.members import train_members

        return train_members(recipe, folder, shards)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Raises TrainingError while another process trains the run, or the sweep."""
    try:
        with exclusive(folder / "lock", wait=False):
            yield
    except BlockingIOError:
        raise TrainingError(f"{folder} is being trained by another process: wait for its end, or stop it") from None


def _train(recipe: Recipe, folder: Path, shards: ShardSet) -> Result:
    for text in preflight(recipe, shards):
        print(text, flush=True)
    in_process = recipe.train.num_workers == 0
    with tracked(recipe, folder, shards) as tracker:
        with nullcontext() if in_process else ray_cluster(recipe), StopRequest(folder / STOP_FILE) as stop:
            outcome, seconds = run_workers(recipe, folder, shards, tracker)
        return finish(Result(folder=folder, outcome=outcome, exit_code=stop.exit_code, seconds=seconds), recipe, shards, tracker)


def run_workers(
    recipe: Recipe,
    folder: Path,
    shards: ShardSet,
    tracker: Tracker,
    *,
    label: str = "",
    listeners: Sequence[Callable[[Event], None]] = (),
    until_epoch: int | None = None,
) -> tuple[Outcome, float]:
    """The training loop in this process or on Ray Train workers, with its events shown, tracked and told to `listeners` as they come; and its seconds.

    label: stands before what is shown, where several runs go on at once. until_epoch: where this start ends, unfinished, if the recipe goes on longer.
    """
    began = time.perf_counter()
    setting = Setting(folder=folder, task=task_of(recipe, shards), until_epoch=until_epoch)
    run = train_on_ray if recipe.train.num_workers else train_in_process
    progress = Progress(total_steps=steps_in_all(recipe, shards), epochs=recipe.train.epochs, log_steps=recipe.train.log_steps, label=label)
    heard: list[Callable[[Event], None]] = [progress, MetricsListener(tracker, folder), *listeners]
    if recipe.train.num_workers:  # this process is connected to Ray, which exports them
        heard.append(RunMetrics(f"{folder.parents[1].name}/{folder.name}" if label else folder.name))
    with progress, EventFollower(folder / EVENTS, heard):
        outcome = run(recipe, setting, shards)
    return outcome, time.perf_counter() - began


def finish(result: Result, recipe: Recipe, shards: ShardSet, tracker: Tracker) -> Result:
    """Plots for every run; the bundle and its registration for one that came to its end."""
    clear_fault(result.folder)
    frames = {split: [row.n_frames for row in shards.index(split)] for split in (recipe.data.train_split, recipe.data.dev_split)}
    events = read_events(result.folder / EVENTS)
    for path in draw_plots(result.folder / "plots", events, train_frames=frames[recipe.data.train_split], dev_frames=frames[recipe.data.dev_split]):
        tracker.log_artifact(path, "plots")
    if result.outcome.fault:
        raise TrainingError(result.outcome.fault)
    if not result.outcome.finished:
        return replace(result, exit_code=result.exit_code or 1)
    best = best_checkpoint(result.folder / CHECKPOINTS)
    if best is None:
        raise TrainingError(f"{result.folder}: no checkpoint could be written, so there is no bundle: make room and --resume the run")
    if (best[0] / PREDICTIONS).exists():
        tracker.log_artifact(best[0] / PREDICTIONS)
    task = task_of(recipe, shards)
    bundle = write_bundle(recipe, result.folder, shards, task, *best)
    version = tracker.register(bundle.folder, name=recipe.tracking.register_as, alias=recipe.tracking.alias) if recipe.tracking.register_as else None
    if not recipe.tracking.register_as:
        tracker.log_artifact(bundle.folder)
    (result.folder / ENDED).touch()
    return replace(result, bundle=bundle, metric=task.metric, dev_scores=best[1].scores, version=version)


def write_bundle(recipe: Recipe, folder: Path, shards: ShardSet, task: Task, checkpoint: Path, position: Position) -> Bundle:
    """The bundle of a checkpoint, in the run's folder."""
    names = [row.name for row in shards.index(recipe.data.dev_split)[: recipe.samples]]
    return save_bundle(
        folder / BUNDLE,
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        state_dict=retied(read_weights(checkpoint)),
        classes=task.classes,
        decoding=recipe.decoding,
        corpus=corpus_card(shards),
        metrics={
            f"dev_{task.metric}": position.scores,
            **_dev_beams(recipe, task),
            "selected_by": recipe.validation.select_by,
            "epoch": position.epoch,
            "step": position.step,
        },
        recipe=recipe.dump(),
        provenance=provenance(),
        samples=list(shards.rows(recipe.data.dev_split, names, modalities=recipe.inputs.modalities)) if names else (),
        tokens=tokens_of(recipe) if SYSTEMS[recipe.system].translates else None,
    )


def _dev_beams(recipe: Recipe, task: Task) -> dict[str, int]:
    """Widths of the searches that the dev scores were made with."""
    match task.metric:
        case "wer":
            return {"dev_beam_width": recipe.validation.beam_width}
        case "bleu4":
            return {"dev_beam_width": recipe.validation.beam_width, "dev_text_beam_width": recipe.validation.text_beam_width}
        case _:
            return {}
