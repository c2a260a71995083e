"""Trials of a sweep: their list, which a killed sweep goes on with, and what became of each.

SWEEP/trials.jsonl       name and values of each trial, written when it is proposed
SWEEP/trials/<name>/     the trial's run, as train.py makes it; trial.json says how it ended
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tune.sweep_file import Sweep
from workloads.recipe import Recipe
from workloads.reports import write_json
from workloads.training.events import EVENTS, Event, read_events
from workloads.training.folders import TRIALS

LIST, ENDING, VALUES = "trials.jsonl", "trial.json", "values.jsonl"

Status = Literal["finished", "stopped early", "failed", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One point of the space. values: of recipe keys, by dotted name."""

    name: str
    values: Mapping[str, Any]

    def recipe(self, base: Recipe) -> Recipe:
        """What it trains. Raises RecipeError where the values don't go together."""
        return base.changed({**self.values, "tracking.register_as": None}, where=f"trial {self.name}")

    def folder(self, sweep: Path) -> Path:
        return sweep / TRIALS / self.name


@dataclass(frozen=True, kw_only=True)
class Record:
    """What became of a trial. losses: what is minimised by epoch; seconds: of training, in the start that ended it."""

    trial: Trial
    status: Status
    losses: Mapping[int, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)  # of all heads, where the loss was lowest
    reason: str = ""
    seconds: float = 0.0

    @property
    def ended(self) -> bool:
        return self.status != "unfinished"

    @property
    def loss(self) -> float | None:
        """The lowest, which is the bundle's; None before the first validation."""
        return min(self.losses.values(), default=None)

    @property
    def epochs(self) -> int:
        return max(self.losses, default=0)

    @property
    def best_epoch(self) -> int:
        return min(self.losses, key=lambda epoch: self.losses[epoch], default=0)


def append_trial(sweep: Path, trial: Trial) -> None:
    """Add to the list, so that it outlives this process."""
    line = json.dumps(asdict(trial), ensure_ascii=False) + "\n"
    with (sweep / LIST).open("a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def read_trials(sweep: Path) -> list[Trial]:
    """The list as far as it was proposed."""
    return [Trial(**line) for line in _lines(sweep / LIST)]


def note_values(folder: Path, epoch: int, values: Mapping[str, Any]) -> None:
    """Note what a member of a population tries from an epoch on."""
    with (folder / VALUES).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"epoch": epoch, "values": dict(values)}, ensure_ascii=False) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines; one that a killed process tore is left out."""
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else []:
        with suppress(ValueError):
            yield json.loads(line)


def end_trial(folder: Path, status: Status, *, reason: str = "", seconds: float = 0.0) -> None:
    """Note how a trial ended; it isn't trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ENDING, {"status": status, "reason": reason, "seconds": round(seconds, 1)})


def read_record(sweep: Sweep, folder: Path, trial: Trial) -> Record:
    """What the trial's folder holds."""
    run = trial.folder(folder)
    validations = {event["epoch"] + 1: event for event in read_events(run / EVENTS) if event["kind"] == "validation"}
    losses = {epoch: loss_of(sweep, event) for epoch, event in sorted(validations.items())}
    ending = json.loads((run / ENDING).read_text(encoding="utf-8")) if (run / ENDING).exists() else {"status": "unfinished"}
    changed = list(_lines(run / VALUES))
    if changed and losses:  # what was validated before a change may have been another's weights, or given up
        losses = {max(losses): losses[max(losses)]}
    best = min(losses, key=lambda epoch: losses[epoch], default=None)
    scores = validations[best]["scores"] if best is not None else {}
    trial = replace(trial, values=changed[-1]["values"]) if changed else trial
    return Record(trial=trial, losses=losses, scores=scores, **ending)


def loss_of(sweep: Sweep, validation: Event) -> float:
    """What is minimised, of a validation's event."""
    return sweep.loss(validation["scores"][sweep.head])
