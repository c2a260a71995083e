"""A run from the driver's side: its folder, the workers, tracking, plots, and the bundle at the end."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cluster.provenance import provenance
from cluster.signals import StopRequest
from cluster.spool import Spool, exclusive
from cluster.tracking import SPOOL_FOLDER, MlflowTracker, Tracker
from models.bundle import Bundle, save_bundle
from models.errors import RecipeError, TrainingError
from models.systems import SYSTEMS
from workloads.bundles import corpus_card
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.recipe import Recipe, parse_recipe, read_values
from workloads.shards import IndexRow, ShardSet
from workloads.training.checkpoints import CHECKPOINTS, PREDICTIONS, Position, best_checkpoint, read_weights
from workloads.training.events import EVENTS, Event, EventFollower, read_events
from workloads.training.faults import clear_fault, some
from workloads.training.loop import STOP_FILE, Outcome, Setting
from workloads.training.plots import draw_plots
from workloads.training.progress import Progress
from workloads.training.tasks import Metric, SentenceTask, SignTask, Task
from workloads.training.workers import ray_cluster, train_in_process, train_on_ray
from workloads.validation import steps_needed

RECIPE = "recipe.yaml"
BUNDLE = "bundle"
ENDED = "ended"  # a file: nothing is left to do
RATES = ("lr", "frames_per_s", "seconds", "gradient_norm")
RESUMABLE = ("tracking.", "train.max_failures", "train.log_steps", "train.keep_checkpoints")  # keys that don't change what is learned


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left. bundle is None where it was stopped before its end; dev_scores: of each head in percent, by the metric; seconds: of training."""

    folder: Path
    outcome: Outcome
    exit_code: int
    bundle: Bundle | None = None
    metric: Metric = "wer"
    dev_scores: dict[str, float] | None = None
    seconds: float = 0.0
    version: int | None = None


def new_run(recipe: Recipe) -> tuple[Recipe, Path]:
    """Make the folder of a new run and write the resolved recipe into it. Raises RecipeError where the name is taken."""
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"shards": str(placed(recipe.data.shards))})})
    generate_shards(recipe)
    preflight(recipe, ShardSet.open(Path(recipe.data.shards)))  # a mistake here shall leave no folder behind
    try:
        folder = _new_folder(recipe)
    except OSError as error:
        raise RecipeError(f"run.root {recipe.run.root}: can't be written ({error.strerror or error}): choose another with --set run.root=FOLDER") from None
    recipe = recipe.model_copy(update={"run": recipe.run.model_copy(update={"root": str(folder.parent), "name": folder.name})})
    (folder / RECIPE).write_text(yaml.safe_dump(recipe.dump(), sort_keys=False, allow_unicode=True), encoding="utf-8")
    return recipe, folder


def _new_folder(recipe: Recipe) -> Path:
    root = runs_root(recipe.run.root)
    if recipe.run.name:
        folder = root / recipe.run.name
        if (folder / RECIPE).exists():
            raise RecipeError(f"{folder} holds a run of that name: continue it with --resume {folder}, or choose another with --set run.name=NAME")
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    name = f"{recipe.recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):  # runs that start in the same second
        with suppress(FileExistsError):
            (root / f"{name}{suffix}").mkdir(parents=True)
            return root / f"{name}{suffix}"
    raise RecipeError(f"{root} holds a thousand runs {name}: choose a name with --set run.name=NAME")


def old_run(name: str, root: str = "runs", overrides: list[str] | None = None) -> tuple[Recipe, Path]:
    """The recipe and folder of a run that is to be continued. Raises RecipeError where there is none, or an override would change it."""
    folder = Path(name) if (Path(name) / RECIPE).exists() else runs_root(root) / name
    file = folder / RECIPE
    if not file.exists():
        known = sorted(path.parent.name for path in runs_root(root).glob(f"*/{RECIPE}"))
        raise RecipeError(f"no run {name!r} under {runs_root(root)}; there are: {', '.join(known) or 'none'}; or give the run's folder")
    for override in overrides or []:
        if not override.startswith(RESUMABLE):
            raise RecipeError(f"--set {override}: a resumed run keeps its recipe; only {', '.join(RESUMABLE)} may change")
    values = read_values(file)
    for override in overrides or []:
        key, _, text = override.partition("=")
        section, _, name = key.partition(".")
        values[section][name] = yaml.safe_load(text)
    return parse_recipe(values, where=str(file)), folder.resolve()


def runs_root(root: str) -> Path:
    """Folder of all runs. In a `ray job` a relative root lies in the home folder, even where the working directory came with one of that name."""
    return Path.home() / "signray" / root if in_job() else Path(root).resolve()


def placed(path: str) -> Path:
    """An absolute path. In a `ray job` what doesn't come with the working directory lies in the home folder: that directory vanishes with the job."""
    return Path.home() / "signray" / path if in_job() and not Path(path).exists() else Path(path).resolve()  # an absolute path stays what it is


def in_job() -> bool:
    """Whether this is the driver of a `ray job`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def generate_shards(recipe: Recipe) -> None:
    """Make the shards of a recipe that trains on generated signing, where they aren't there yet.

    Raises ShardError where the folder holds shards that were made by other options.
    """
    if recipe.data.synthetic is not None:
        settings = {name: str(int(value)) if value == int(value) else repr(value) for name, value in recipe.data.synthetic.items()}
        preprocess(PreprocessOptions(corpus="synthetic", out=Path(recipe.data.shards), settings=settings), in_this_process)


def train(recipe: Recipe, folder: Path) -> Result:
    """Train, or continue what is in `folder`, and write the bundle of the best checkpoint.

    Raises TrainingError for a fault of the run, ShardError for one of the shards, ConnectionError where RAY_ADDRESS doesn't answer.
    """
    with _alone(folder):
        return _train(recipe, folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raises TrainingError while another process trains the run."""
    try:
        with exclusive(folder / "lock", wait=False):
            yield
    except BlockingIOError:
        raise TrainingError(f"{folder} is being trained by another process: wait for its end, or stop it") from None


def _train(recipe: Recipe, folder: Path) -> Result:
    clear_fault(folder)
    generate_shards(recipe)
    shards = ShardSet.open(Path(recipe.data.shards))
    for text in preflight(recipe, shards):
        print(text, flush=True)
    began = time.perf_counter()
    with tracked(recipe, folder, shards) as tracker:
        outcome, exit_code = _run_workers(recipe, folder, shards, tracker)
        result = Result(folder=folder, outcome=outcome, exit_code=exit_code, seconds=time.perf_counter() - began)
        return _finish(result, recipe, shards, tracker)


def preflight(recipe: Recipe, shards: ShardSet) -> list[str]:
    """Warnings before a run starts. Raises RecipeError or TrainingError where it can't."""
    expected = getattr(recipe.inputs, "num_keypoints", shards.num_keypoints)
    if shards.num_keypoints != expected:
        raise RecipeError(
            f"{shards.path}: clips of {shards.num_keypoints} keypoints, {recipe.system} is set to {expected}: preprocess with --keypoints {expected}"
        )
    index = shards.index(recipe.data.train_split)
    shards.files(recipe.data.dev_split)
    isolated = SYSTEMS[recipe.system].task == "islr"
    unlabelled = [row.name for row in index if not (row.label if isolated else row.glosses)]
    if unlabelled:
        what, source = ("label", "labelled signs") if isolated else ("glosses", "gloss sentences")
        raise TrainingError(f"{len(unlabelled)} training clips have no {what}: {some(unlabelled)}: {recipe.system} learns from {source}; leave them out")
    return [] if isolated else _too_long(recipe, shards, index)


def _too_long(recipe: Recipe, shards: ShardSet, index: Sequence[IndexRow]) -> list[str]:
    """Warnings of clips that CTC can't align: at their own length, or only where training resamples them to its shortest."""
    stride = getattr(recipe.network, "temporal_stride", 1)
    most, shortest = getattr(recipe.inputs, "max_frames", 1 << 30), getattr(recipe.inputs, "shortest", 1.0)
    needed = {row.name: steps_needed([shards.vocabulary.normalise(gloss) for gloss in row.glosses or ()]) for row in index}
    always = [row.name for row in index if needed[row.name] > min(row.n_frames, most) // stride]
    at_times = [row.name for row in index if row.name not in set(always) and needed[row.name] > -(-min(int(row.n_frames * shortest), most) // stride)]
    texts = []
    if always:
        texts.append(f"{len(always)} training clips have more glosses than time steps; CTC counts nothing for them: {some(always)}")
    if at_times:
        texts.append(
            f"{len(at_times)} training clips have too few time steps when resampled to {shortest:g} of their length, and count nothing then: {some(at_times)}"
        )
    return texts


def _run_workers(recipe: Recipe, folder: Path, shards: ShardSet, tracker: Tracker) -> tuple[Outcome, int]:
    """The training loop in this process or on Ray Train workers, with its events shown and tracked as they come."""
    setting = Setting(folder=folder, task=task_of(recipe, shards))
    with Progress(total_steps=steps_in_all(recipe, shards), epochs=recipe.train.epochs, log_steps=recipe.train.log_steps) as progress:
        follower = EventFollower(folder / EVENTS, (progress, MetricsListener(tracker, folder)))
        if recipe.train.num_workers == 0:
            with StopRequest(folder / STOP_FILE) as stop, follower:
                return train_in_process(recipe, setting, shards), stop.exit_code
        with ray_cluster(recipe), StopRequest(folder / STOP_FILE) as stop, follower:
            return train_on_ray(recipe, setting, shards), stop.exit_code


def task_of(recipe: Recipe, shards: ShardSet) -> Task:
    """What the run is about. Raises TrainingError where no dev clip is annotated: there is nothing to validate on."""
    rows = shards.index(recipe.data.dev_split)
    if SYSTEMS[recipe.system].task == "slr":
        sentences = {row.name: row.glosses for row in rows if row.glosses}
        _need_references(sentences, recipe, "glosses")
        return SentenceTask(corpus=shards.corpus.corpus, vocabulary=shards.vocabulary, references=sentences, beam_width=recipe.validation.beam_width)
    labels = {row.name: row.label for row in rows if row.label}
    _need_references(labels, recipe, "a label")
    clips = Counter(row.label for row in shards.index(recipe.data.train_split))
    return SignTask(classes=shards.classes, references=labels, class_counts=tuple(clips[label] for label in shards.classes.labels))


def _need_references(references: Mapping[str, object], recipe: Recipe, what: str) -> None:
    if not references:
        raise TrainingError(f"no clip of {recipe.data.dev_split} has {what}: nothing to validate on; choose another data.dev_split")


def steps_in_all(recipe: Recipe, shards: ShardSet) -> int:
    """Optimiser steps of the whole run."""
    clips = shards.corpus.splits[recipe.data.train_split].recordings // max(1, recipe.train.num_workers)
    return clips // recipe.train.batch_size // recipe.optim.accumulation * recipe.train.epochs


class MetricsListener:
    """Sends the numbers of events to the tracker, beginning with those of the run's folder that a killed driver didn't get to log.

    Steps that a resumed run takes again were logged before.
    """

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self._tracker = tracker
        self._logged = last_logged_step(folder)
        for event in read_events(folder / EVENTS):
            self(event)

    def __call__(self, event: Event) -> None:
        if event["kind"] == "step" and event["step"] > self._logged:
            self._logged = event["step"]
            rates: dict[str, float] = {key: event[key] for key in RATES if key in event}
            self._tracker.log_metrics({**{f"loss/{name}": value for name, value in event["terms"].items()}, **rates}, step=event["step"])
        elif event["kind"] == "validation":
            self._tracker.log_metrics({f"dev_{event['metric']}/{head}": value for head, value in event["scores"].items()}, step=event["step"])


def last_logged_step(folder: Path) -> int:
    """The last training step that the run's tracker was told of; 0 before the first."""
    records = Spool(folder / SPOOL_FOLDER).read()
    return max((record.content["step"] for record in records if record.kind == "metrics" and "loss/loss" in record.content["values"]), default=0)


@contextmanager
def tracked(recipe: Recipe, folder: Path, shards: ShardSet) -> Iterator[Tracker]:
    """The run's tracker, told what the run is; ended with the run's status."""
    tracker = MlflowTracker(
        folder,
        experiment=recipe.tracking.experiment,
        run_name=folder.name,
        tracking_uri=recipe.tracking.uri,
        tags={"signray.system": recipe.system, "signray.recipe": recipe.recipe, "signray.shards": shards.checksum},
        notify=lambda text: print(text, flush=True),
    )
    tracker.log_params(flat(recipe.dump()))
    tracker.log_artifact(folder / RECIPE)
    (folder / "provenance.json").write_text(json.dumps(provenance(), indent=1, default=str) + "\n", encoding="utf-8")
    tracker.log_artifact(folder / "provenance.json")
    try:
        yield tracker
    except BaseException:
        tracker.close("FAILED")
        raise
    else:
        tracker.close("FINISHED" if ended(folder) else "KILLED")


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result


def _finish(result: Result, recipe: Recipe, shards: ShardSet, tracker: Tracker) -> Result:
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


def ended(folder: Path) -> bool:
    """Whether a run has come to its end, with its bundle written and handed to the tracker."""
    return (folder / ENDED).exists() and (folder / BUNDLE).exists()


def write_bundle(recipe: Recipe, folder: Path, shards: ShardSet, task: Task, checkpoint: Path, position: Position) -> Bundle:
    """The bundle of a checkpoint, in the run's folder."""
    names = [row.name for row in shards.index(recipe.data.dev_split)[: recipe.samples]]
    return save_bundle(
        folder / BUNDLE,
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        state_dict=read_weights(checkpoint),
        classes=task.classes,
        decoding=recipe.decoding,
        corpus=corpus_card(shards),
        metrics={
            f"dev_{task.metric}": position.scores,
            **({"dev_beam_width": recipe.validation.beam_width} if task.metric == "wer" else {}),
            "selected_by": recipe.validation.select_by,
            "epoch": position.epoch,
            "step": position.step,
        },
        recipe=recipe.dump(),
        provenance=provenance(),
        samples=list(shards.rows(recipe.data.dev_split, names)) if names else (),
    )
