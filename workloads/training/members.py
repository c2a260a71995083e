"""The members of an ensemble as runs of their own, several at a time where there is room, and the ensemble that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from cluster.provenance import provenance
from cluster.ray_cluster import ClusterInfo, num_cores
from cluster.signals import StopRequest
from cluster.tracking import MlflowTracker, Tracker
from models.batch import ENSEMBLE
from models.bundle import Bundle, load_bundle
from models.ensemble import Ensemble, save_ensemble
from models.errors import SignrayError, TrainingError
from models.system import TEXT
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.sign_scoring import SignEvaluation, rates
from workloads.training.faults import clear_fault
from workloads.training.folders import BUNDLE, ENDED, MEMBERS, RECIPE, ended, old_run, write_recipe
from workloads.training.loop import STOP_FILE, Outcome
from workloads.training.preflight import preflight
from workloads.training.run import Result, finish, members_of, run_workers
from workloads.training.tasks import Metric
from workloads.training.tracked import tracked
from workloads.training.workers import ray_cluster


def train_members(recipe: Recipe, folder: Path, shards: ShardSet) -> Result:
    """Train what isn't trained yet of an ensemble's members, and write the ensemble.

    Each member is a run of its own below `folder`. One that fails doesn't end the others; raises its TrainingError when these have ended.
    """
    members = {name: _member_folder(each, folder / MEMBERS / name) for name, each in members_of(recipe).items()}
    waiting = {name: each for name, each in members.items() if not ended(each[1])}
    private_room = _at_once(recipe, cpus=num_cores(), gpus=math.inf, waiting=len(waiting))
    stops = [member_folder / STOP_FILE for _, member_folder in waiting.values()]
    with tracked(recipe, folder, shards) as tracker:
        needs_ray = bool(recipe.train.num_workers and waiting)
        with ray_cluster(recipe, at_once=private_room) if needs_ray else nullcontext() as cluster, StopRequest(folder / STOP_FILE, *stops) as stop:
            at_once = 1 if not isinstance(cluster, ClusterInfo) else private_room if cluster.private else _room(recipe, cluster, len(waiting))
            print(f"members: {', '.join(waiting) or 'all are trained'}{f', {at_once} at once' if at_once > 1 else ''}", flush=True)
            results = _train_all(waiting, shards, at_once, _Parent(recipe=recipe, folder=folder, tracker=tracker, stop=stop))
        step = sum(result.outcome.step for result in results)
        result = Result(folder=folder, outcome=Outcome(step=step, finished=True), exit_code=0, seconds=sum(each.seconds for each in results))
        if stop.signal_number or not all(ended(member_folder) for _, member_folder in members.values()):
            return replace(result, outcome=Outcome(step=step, finished=False), exit_code=stop.exit_code or 1)
        bundles = {name: load_bundle(member_folder / BUNDLE) for name, (_, member_folder) in members.items()}
        return _finish_ensemble(result, recipe, shards, bundles, tracker)


class _Parent:
    """What the members' runs need of the ensemble's."""

    def __init__(self, *, recipe: Recipe, folder: Path, tracker: MlflowTracker, stop: StopRequest) -> None:
        self.recipe, self.folder, self.tracker, self.stop = recipe, folder, tracker, stop

    def tags(self, name: str) -> dict[str, str]:
        run_id = self.tracker.run_id
        return {"mlflow.runName": f"{self.folder.name}/{name}", "signray.ensemble": self.folder.name} | ({"mlflow.parentRunId": run_id} if run_id else {})


def _member_folder(recipe: Recipe, folder: Path) -> tuple[Recipe, Path]:
    """The member's own run: made now, or as it was made."""
    if (folder / RECIPE).exists():
        return old_run(str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    tracking = recipe.tracking.model_copy(update={"register_as": None})
    recipe = recipe.model_copy(update={"tracking": tracking})
    return write_recipe(recipe, folder), folder


def _room(recipe: Recipe, cluster: ClusterInfo, waiting: int) -> int:
    """How many members train at once on a cluster; Ray Data needs a CPU beside the workers of each."""
    return _at_once(recipe, cpus=cluster.num_cpus, gpus=cluster.num_gpus, waiting=waiting, spare_cpus=1)


def _at_once(recipe: Recipe, *, cpus: float, gpus: float, waiting: int, spare_cpus: int = 0) -> int:
    """How many members have room for their workers, at least one; or what the recipe says."""
    assert recipe.ensemble is not None
    options = recipe.train
    if options.num_workers == 0:
        return 1
    room = cpus // (options.num_workers * options.cpus_per_worker + spare_cpus)
    if options.gpus_per_worker:
        room = min(room, gpus // (options.num_workers * options.gpus_per_worker))
    return max(1, min(int(recipe.ensemble.parallel or room), waiting or 1))


def _train_all(members: Mapping[str, tuple[Recipe, Path]], shards: ShardSet, at_once: int, parent: _Parent) -> list[Result]:
    """Results of the members that were trained; after a stop none begins. Raises TrainingError for the first that failed, at the end."""
    failed: list[str] = []

    def run(name: str) -> Result | None:
        if parent.stop.signal_number:
            return None
        try:
            return _train_member(name, *members[name], shards, parent)
        except SignrayError as error:
            failed.append(f"{name}: {error}")
            print(f"{name}: {error}", flush=True)
            return None

    if at_once == 1:  # in this thread: a training in this process sets up more than threads keep apart
        results = [run(name) for name in members]
    else:
        with ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="member") as pool:
            results = list(pool.map(run, members))
    if failed:
        raise TrainingError(f"{failed[0]} ({len(failed)} of {len(members)} members failed; the others are kept: continue with --resume {parent.folder})")
    return [result for result in results if result is not None]


def _train_member(name: str, recipe: Recipe, folder: Path, shards: ShardSet, parent: _Parent) -> Result:
    clear_fault(folder)
    for text in preflight(recipe, shards):
        print(f"{name}: {text}", flush=True)
    with tracked(recipe, folder, shards, store=parent.folder.parent, tags=parent.tags(name)) as tracker:
        outcome, seconds = run_workers(recipe, folder, shards, tracker, label=name)
        result = Result(folder=folder, outcome=outcome, exit_code=parent.stop.exit_code, seconds=seconds)
        return finish(result, recipe, shards, tracker)


def _finish_ensemble(result: Result, recipe: Recipe, shards: ShardSet, bundles: Mapping[str, Bundle], tracker: Tracker) -> Result:
    """The ensemble with its scores on dev, registered."""
    assert recipe.ensemble is not None
    folder = result.folder / BUNDLE
    split, weights = recipe.data.dev_split, recipe.ensemble.member_weights
    facts: dict[str, Any] = {"provenance": provenance(), "recipe": recipe.dump()}
    unscored = save_ensemble(folder, bundles, weights, metrics={}, **facts)
    metric, scores, metrics = _scored(unscored, shards, split)
    ensemble = save_ensemble(folder, bundles, weights, metrics=metrics, **facts)
    tracker.log_metrics({f"{split}_{metric}/{head}": value for head, value in scores.items()}, step=result.outcome.step)
    name = recipe.tracking.register_as
    version = tracker.register(ensemble.folder, name=name, alias=recipe.tracking.alias) if name else None
    if not name:
        tracker.log_artifact(ensemble.folder)
    (result.folder / ENDED).touch()
    return replace(result, bundle=ensemble, metric=metric, dev_scores=scores, version=version)


def _scored(ensemble: Ensemble, shards: ShardSet, split: str) -> tuple[Metric, dict[str, float], dict[str, Any]]:
    """The metric, what answers by it in percent, and what the bundle says of it."""
    from workloads.evaluate import evaluate

    evaluation = evaluate(ensemble, shards, split)
    if isinstance(evaluation, SignEvaluation):
        facts = {f"{split}_top1": evaluation.top1, f"{split}_{ENSEMBLE}": rates(evaluation.accuracy[ENSEMBLE]), f"{split}_clips": len(evaluation.clips)}
        return "top1", evaluation.top1, facts
    assert evaluation.texts is not None
    found = evaluation.texts.answer
    scores = {ENSEMBLE: found.bleu.bleu4} | {name: bundle.metrics["dev_bleu4"][TEXT] for name, bundle in ensemble.members.items()}
    beside = {f"{split}_rouge_l": found.rouge_l, f"{split}_wer": evaluation.wer, f"{split}_clips": len(evaluation.texts.clips)}
    return "bleu4", scores, {f"{split}_bleu4": scores, **beside}
