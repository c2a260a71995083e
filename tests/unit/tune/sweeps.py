"""A small sweep, and trials as they would have been left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.workloads.tiny_runs import tiny_recipe
from tune.sweep_file import Sweep, parse_sweep
from tune.trial_run import SweepPlace
from tune.trials import Trial, append_trial, end_trial
from workloads.recipe import Recipe
from workloads.training.events import EVENTS

SWEEP: dict[str, Any] = {
    "space": {
        "losses.weights.ctc_body": {"low": 0.2, "high": 3.0, "log": True},
        "optim.lr": {"low": 1e-4, "high": 1e-2, "log": True},
        "optim.name": {"choices": ["adam", "adamw"]},
    },
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "budget": {"trials": 5},
}


def small_sweep(recipe: Recipe, **changes: Any) -> Sweep:
    return parse_sweep({**SWEEP, **changes}, recipe, where="sweep.yaml")


def small_place(folder: Path, shards: Path, *overrides: str, **changes: Any) -> SweepPlace:
    """A sweep of tiny trainings in a folder of its own."""
    recipe = tiny_recipe(shards, *overrides)
    (folder / "sweep").mkdir(parents=True)
    return SweepPlace(sweep=small_sweep(recipe, **changes), recipe=recipe, folder=folder / "sweep")


def leave_trial(place: SweepPlace, trial: Trial, scores: list[float], *, status: Any = None, reason: str = "") -> None:
    """What a trial would have left: its line, a validation an epoch, its ending."""
    append_trial(place.folder, trial)
    run = trial.folder(place.folder)
    run.mkdir(parents=True)
    heads = ("ensemble", "left", "right", "fuse", "body")
    events = [
        {"kind": "validation", "step": 6 * (epoch + 1), "epoch": epoch, "metric": "wer", "scores": dict.fromkeys(heads, score)}
        for epoch, score in enumerate(scores)
    ]
    (run / EVENTS).write_text("".join(json.dumps(event) + "\n" for event in events), encoding="utf-8")
    if status:
        end_trial(run, status, reason=reason, seconds=10.0)
