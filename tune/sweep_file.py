"""Sweep files: typed, frozen descriptions of a search over recipes, read from YAML.

space:                                       # recipe keys, by dotted name, and where their values come from
  losses.weights.ctc_body: {low: 0.1, high: 3.0, log: true}
  optim.lr: {low: 1.0e-4, high: 3.0e-3, log: true}
  network.head.dropout: {low: 0.0, high: 0.5, step: 0.1}
  train.zero_stage: {choices: [0, 2]}
scheduler: {name: asha, grace_epochs: 2}     # or pbt, or none
searcher: {name: optuna, seed: 0}            # or random; storage: and study: keep its trials in a database
metric: dev_wer/ensemble                     # unset: the head that chooses the recipe's checkpoints
budget: {trials: 20}
seeds: 3
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from models.errors import RecipeError
from models.options import Options
from models.systems import SYSTEMS
from workloads.recipe import Recipe
from workloads.recipe_values import read_values
from workloads.refusals import nearest, refusal

DIGITS = 6  # of drawn numbers: more would only make tables wide
FIXED = ("run.", "tracking.", "ensemble.", "data.", "seed", "recipe", "system")  # what a trial is, and on what; not what it tries
ALIVE = ("optim.lr", "losses.", "inputs.")  # what can change in the middle of a run


class Span(Options):
    """Where the values of a recipe key come from: `choices`, or numbers from low to high (both included), even in their logarithm with `log`."""

    choices: tuple[Any, ...] | None = Field(None, min_length=1)
    low: float | None = None
    high: float | None = None
    log: bool = False
    integer: bool = False
    step: float | None = Field(None, gt=0, description="numbers low, low + step, ...")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.choices is None) == (self.low is None and self.high is None):
            raise ValueError("either choices: [...], or low: and high:")
        if self.choices is not None:
            if self.log or self.integer or self.step:
                raise ValueError("log, integer and step belong to low and high, not to choices")
            return self
        if self.low is None or self.high is None or self.low >= self.high:
            raise ValueError("low and high are both needed, and low below high")
        if self.log and (self.low <= 0 or self.step):
            raise ValueError("log needs low above 0, and has no step")
        if self.integer and any(value != int(value) for value in (self.low, self.high, self.step or 1)):
            raise ValueError("integer needs whole numbers for low, high and step")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that a recipe must take if it takes all: the choices, or both ends."""
        return self.choices if self.choices is not None else (self.number(self.bounds[0]), self.number(self.bounds[1]))

    @property
    def bounds(self) -> tuple[float, float]:
        """Of numbers: low and high."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def draw(self, generator: np.random.Generator) -> Any:
        """A value at random."""
        if self.choices is not None:
            return self.choices[int(generator.integers(len(self.choices)))]
        low, high = self.bounds
        if self.step:
            return self.number(low + self.step * int(generator.integers(int((high - low) / self.step + 1e-9) + 1)))
        if self.integer and not self.log:
            return int(generator.integers(int(low), int(high) + 1))
        drawn = np.exp(generator.uniform(np.log(low), np.log(high))) if self.log else generator.uniform(low, high)
        return self.number(float(drawn))

    def number(self, value: float) -> float | int:
        """A number as a trial gets it: inside the bounds, short."""
        low, high = self.bounds
        short = min(max(float(f"{value:.{DIGITS}g}"), low), high)
        return round(short) if self.integer else short


class SchedulerOptions(Options):
    """What ends, or changes, trials before their end."""

    name: Literal["asha", "pbt", "none"] = Field("asha", description="asha: stops the worse ones early; pbt: lets them go on from the better ones' weights")
    grace_epochs: int = Field(1, gt=0, description="of asha: no trial is stopped before")
    reduction_factor: float = Field(3.0, gt=1, description="of asha: one in so many goes on at each rung")
    interval_epochs: int = Field(1, gt=0, description="of pbt: epochs between changes")
    quantile: float = Field(0.25, gt=0, le=0.5, description="of pbt: share of trials that are replaced, and that replace them")
    resample: float = Field(0.25, ge=0, le=1, description="of pbt: how often a changed value is drawn anew, rather than moved")


class SearcherOptions(Options):
    """What proposes values."""

    name: Literal["random", "optuna"] = "random"
    seed: int = Field(0, ge=0)
    startup_trials: int = Field(10, gt=0, description="of optuna: trials at random before it models what it saw")
    storage: str | None = Field(None, description="of optuna: URL of a database that gets the trials as a study; OPTUNA_STORAGE where it isn't given")
    study: str | None = Field(
        None, min_length=1, description="of optuna: the study's name in it, the sweep's where it isn't given; sweeps of one study learn from each other"
    )

    @model_validator(mode="after")
    def _optuna_alone(self) -> Self:
        if self.name != "optuna" and (self.storage or self.study):
            raise ValueError("storage and study belong to searcher optuna")
        if self.storage and re.match(r"[^/]*//[^/@]*:[^/@]*@|.*[?&]password=", self.storage):
            raise ValueError("storage: the URL holds a password, which the sweep's folder and MLflow would show: set PGPASSWORD or use ~/.pgpass instead")
        return self


class BudgetOptions(Options):
    """How much may be spent."""

    trials: int = Field(gt=0)
    at_once: int | None = Field(None, gt=0, description="trials that train at once; as many as the cluster has room for where it isn't given")
    hours: float | None = Field(None, gt=0, description="of this start; what trains then is ended as if it were stopped early")


class Sweep(Options):
    """Everything that decides a search over a recipe."""

    space: dict[str, Span] = Field(min_length=1)
    scheduler: SchedulerOptions = SchedulerOptions()
    searcher: SearcherOptions = SearcherOptions()
    metric: str = Field("", description="dev_wer/HEAD or dev_top1/HEAD; of the head that chooses the recipe's checkpoints where it isn't given")
    budget: BudgetOptions
    seeds: int = Field(1, gt=0, description="trainings of the best values, each with a seed of its own")
    retries: int = Field(1, ge=0, description="times that a failed trial is started again, from its last checkpoint")

    @property
    def metric_name(self) -> str:
        """wer or top1."""
        return self.metric.partition("/")[0].removeprefix("dev_")

    @property
    def head(self) -> str:
        return self.metric.partition("/")[2]

    def loss(self, score: float) -> float:
        """What is minimised, in percent, of a score."""
        return score if self.metric_name == "wer" else 100.0 - score


def load_sweep(path: Path, recipe: Recipe) -> Sweep:
    """The sweep of a file, checked against the recipe that it varies, with its metric filled in.

    Raises RecipeError, one line with file, key and the nearest valid key, for whatever one of the two schemas refuses.
    """
    if not path.is_file():
        known = sorted(each.name for each in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise RecipeError(f"no sweep file {path}{nearest(path.name, known)}")
    return parse_sweep(read_values(path), recipe, where=path.name)


def parse_sweep(values: Mapping[str, Any], recipe: Recipe, *, where: str) -> Sweep:
    """A sweep from plain values. Raises RecipeError that begins with `where`."""
    try:
        sweep = Sweep.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: {refusal(error.errors()[0], Sweep)}") from None
    sweep = sweep.model_copy(update={"metric": _metric(sweep.metric, recipe, where)})
    if recipe.ensemble is not None:
        raise RecipeError(f"{where}: {recipe.recipe} trains an ensemble, and a sweep varies one network: add --set ensemble=null and what the member changes")
    for key, span in sweep.space.items():
        _check_key(key, span, recipe, where)
    _check_scheduler(sweep, recipe, where)
    return sweep


def _metric(name: str, recipe: Recipe, where: str) -> str:
    system = SYSTEMS[recipe.system]
    kind = "wer" if system.task == "slr" else "top1"
    known = [f"dev_{kind}/{head}" for head in system.answering]
    if name and name not in known:
        raise RecipeError(f"{where}: metric: {name!r} is none{nearest(name, known)}; there are: {', '.join(known)}")
    return name or f"dev_{kind}/{recipe.validation.select_by}"


def _check_key(key: str, span: Span, recipe: Recipe, where: str) -> None:
    """Every value at the ends of a span must make a recipe."""
    if key.startswith(FIXED):
        raise RecipeError(f"{where}: space.{key} is the same for all trials: set it for the sweep with --set {key}=...")
    for value in span.ends:
        recipe.changed({key: value}, where=f"{where}: space.{key}")


def _check_scheduler(sweep: Sweep, recipe: Recipe, where: str) -> None:
    options = sweep.scheduler
    if options.name == "asha" and "train.epochs" not in sweep.space and options.grace_epochs > recipe.train.epochs:
        raise RecipeError(f"{where}: scheduler.grace_epochs is {options.grace_epochs}, and a trial has {recipe.train.epochs} epochs: no trial could be stopped")
    if options.name != "pbt":
        return
    frozen = [key for key in sweep.space if not key.startswith(ALIVE)]
    if frozen:
        raise RecipeError(f"{where}: space.{frozen[0]} can't change in the middle of a run, as pbt needs: only {', '.join(ALIVE)} can; or take scheduler asha")
    if sweep.searcher.name != "random":
        raise RecipeError(f"{where}: searcher {sweep.searcher.name} proposes values at a trial's start alone, and pbt changes them later: take random")
    if options.interval_epochs % recipe.validation.every_epochs:
        raise RecipeError(f"{where}: scheduler.interval_epochs must be a multiple of the recipe's validation.every_epochs, {recipe.validation.every_epochs}")
    if sweep.seeds > 1:
        raise RecipeError(f"{where}: seeds: {sweep.seeds}: the values of pbt change in a run, so that no recipe repeats its winner: take seeds: 1")
    if sweep.budget.trials < 2:
        raise RecipeError(f"{where}: budget.trials: pbt needs two trials at least, got {sweep.budget.trials}")
