"""Recipes: typed, frozen descriptions of a training, read from YAML and overridable from the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator
from torch import nn

from cluster.storage import location
from models.batch import ENSEMBLE
from models.decoding.options import MAX_BEAM_WIDTH
from models.dsta_slr.fusion import published_weights
from models.errors import RecipeError
from models.inputs.inputs import Inputs
from models.losses.options import LossOptions
from models.options import AnswerOptions, Options
from models.system import BundleStart, Starts
from models.systems import SYSTEMS
from workloads.recipe_values import override_value, read_values, recipe_path, set_value
from workloads.refusals import nearest, refusal

Precision = Literal["fp32", "bf16", "fp16"]


class DataOptions(Options):
    """Where the clips come from and how batches are put together."""

    shards: str = Field(description="folder of shards that workloads/preprocess.py wrote, or s3://BUCKET/PREFIX")
    train_split: str = "train"
    dev_split: str = "dev"
    synthetic: dict[str, float] | None = Field(None, description="options of the synthetic corpus, which is generated into `shards` where they don't exist yet")
    shuffle_pool: int = Field(4096, gt=0, description="clips that a worker shuffles at a time; a shard that fits is kept in memory between epochs")
    bucket_batches: int = Field(1, gt=0, description="batches that are cut from one pool sorted by length; 1 shuffles freely, as published")


class OptimOptions(Options):
    """Optimiser and schedule; the defaults are MSKA's published recognition settings."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(1e-3, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.998)
    eps: float = Field(1e-8, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    nesterov: bool = Field(False, description="of sgd")
    weight_decay: float = Field(1e-3, ge=0)
    schedule: Literal["cosine", "one_cycle", "steps", "constant"] = Field("cosine", description="cosine: per epoch, stepped before it, as published by MSKA")
    cosine_epochs: int | None = Field(None, gt=0, description="T_max of the cosine; the number of epochs where it isn't given")
    warmup: float = Field(0.1, ge=0, lt=1, description="of one_cycle: share of the steps in which the rate rises")
    warmup_epochs: int = Field(0, ge=0, description="of steps: epochs in which the rate rises linearly, a step an epoch")
    milestones: tuple[int, ...] = Field((), description="of steps: epochs, from 0, before which the rate is multiplied by `decay`")
    decay: float = Field(0.1, gt=0, le=1, description="of steps")
    clipping: float = Field(0.0, ge=0, description="largest norm of the gradient; 0 clips nothing")
    accumulation: int = Field(1, gt=0, description="batches per step of the optimiser")
    rates: dict[str, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="learning rate of a part of the network, by the beginning of its parameters' names: `{translator: 1e-5}`; others have `lr`",
    )
    frozen: tuple[str, ...] = Field((), description="parts of the network, by the beginning of their names, that stay as they are and in evaluation form")


class TrainOptions(Options):
    """How long and on what."""

    epochs: int = Field(100, gt=0)
    batch_size: int = Field(8, gt=0, description="clips per worker and batch")
    num_workers: int = Field(1, ge=0, description="Ray Train workers; 0 trains in this process, without Ray")
    min_workers: int | None = Field(
        None,
        gt=0,
        description="go on with as few as these where nodes are lost, and with more as they come; batches and schedule stay those of num_workers",
    )
    threads: int | None = Field(1, gt=0, description="CPU threads of a worker's tensor operations")
    cpus_per_worker: float = Field(1.0, gt=0)
    gpus_per_worker: float = Field(0.0, ge=0)
    precision: Precision = "fp32"
    recompute: bool = Field(False, description="compute the activations of blocks again in the backward pass: less memory, about a third more time")
    sync_batch_norm: bool = Field(False, description="batch norms count the clips of all workers, not each its own")
    zero_stage: Literal[0, 1, 2, 3] = 0
    checkpoint_steps: int | None = Field(None, gt=0, description="steps between checkpoints inside an epoch; there is one after each validation anyway")
    keep_checkpoints: int = Field(3, ge=2, description="the two newest and the best by dev WER stay in any case, then the newer ones")
    max_failures: int = Field(3, ge=0, description="worker failures that are mended by a restart from the last checkpoint")
    log_steps: int = Field(10, gt=0, description="steps per progress line")

    @model_validator(mode="after")
    def _consistent(self) -> TrainOptions:
        if self.min_workers is None:
            return self
        if self.min_workers > max(1, self.num_workers):
            raise ValueError(f"min_workers is {self.min_workers}, num_workers {self.num_workers}: the fewest workers can't be more than all")
        if self.sync_batch_norm:
            raise ValueError("min_workers: with sync_batch_norm the norms count the clips of all workers, and would change with their number; leave one off")
        return self


class ValidationOptions(Options):
    """What is measured on dev, how often, and what chooses the best checkpoint."""

    every_epochs: int = Field(1, gt=0)
    batch_size: int = Field(8, gt=0)
    beam_width: int = Field(1, gt=0, le=MAX_BEAM_WIDTH)
    text_beam_width: int = Field(4, gt=0, description="of the search for texts, where the system translates; its other options are decoding.text's")
    select_by: str = Field("", description="head whose dev score chooses the checkpoint; the ensemble, or the system's only head, where it isn't given")
    warmup_epochs: int = Field(10, ge=0, description="a WER of 100 %, empty answers or a top-1 of mere chance after these are reported as a fault")


class TrackingOptions(Options):
    """MLflow: tracking server, experiment, registry."""

    uri: str | None = Field(None, description="tracking server; an SQLite file under the runs' root where it isn't given")
    experiment: str = "signray"
    register_as: str | None = Field(None, description="name in the model registry; not registered where it isn't given")
    alias: str | None = Field("candidate", description="alias that the registered version gets")


class RunOptions(Options):
    """Where the run lies."""

    root: str = Field(
        "runs",
        description="folder of all runs, shared by all hosts of a cluster, or s3://BUCKET/PREFIX; below ~/signray in a `ray job` where it is relative",
    )
    name: str | None = Field(None, pattern=r"^[\w.-]+$", description="folder of this run; the recipe's name and the time where it isn't given")


MEMBERS_OWN = (
    "inputs.",
    "network.",
    "losses.",
    "init.",
    "optim.",
    "seed",
    "train.epochs",
)  # keys that a member may change: what it learns, not where or on what


class EnsembleOptions(Options):
    """Several networks of one recipe that answer together."""

    members: dict[str, dict[str, Any]] = Field(min_length=2, description="name → what it changes in the recipe, by dotted key: `{inputs.stream: bone}`")
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="fusion weight of a member's logits, 1 where it isn't named; or the name of published ones, such as wlasl2000"
    )
    parallel: int | None = Field(None, gt=0, description="members that train at once; as many as the cluster has room for where it isn't given")

    @field_validator("weights", mode="before")
    @classmethod
    def _published(cls, value: Any) -> Any:
        """Weights by the name under which they were published."""
        return dict(published_weights(value)) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _consistent(self) -> EnsembleOptions:
        for name, changes in self.members.items():
            foreign = [key for key in changes if not key.startswith(MEMBERS_OWN)]
            if foreign:
                raise ValueError(f"members.{name}: {foreign[0]!r} is the same for all members; one may change {', '.join(MEMBERS_OWN)}")
            if not re.fullmatch(r"[\w-]+", name) or name == ENSEMBLE:
                raise ValueError(f"members: {name!r} can't name a member: letters, digits, _ and - only, and not {ENSEMBLE!r}")
        unknown = [name for name in self.weights if name not in self.members]
        if unknown:
            raise ValueError(f"weights: {unknown[0]!r} is no member{nearest(unknown[0], self.members)}; there are: {', '.join(self.members)}")
        if not sum(self.member_weights.values()) > 0:
            raise ValueError("weights: their sum must be above 0")
        return self

    @property
    def member_weights(self) -> dict[str, float]:
        """Fusion weight of every member."""
        return {name: self.weights.get(name, 1.0) for name in self.members}


class Recipe(Options):
    """Everything that decides a training."""

    recipe: str = Field(description="name of the recipe")
    system: str = "mska_slr"
    seed: int = Field(0, ge=0)
    data: DataOptions
    network: SerializeAsAny[Options]
    inputs: SerializeAsAny[Inputs]
    losses: SerializeAsAny[LossOptions]
    init: dict[str, str] = Field(
        default_factory=dict, description="what the network begins with beside random weights: name → file or bundle; the system says which there are"
    )
    optim: OptimOptions = OptimOptions()
    train: TrainOptions = TrainOptions()
    validation: ValidationOptions = ValidationOptions()
    decoding: SerializeAsAny[AnswerOptions]
    ensemble: EnsembleOptions | None = Field(None, description="trains one network per member, which differ by what their entries change")
    tracking: TrackingOptions = TrackingOptions()
    run: RunOptions = RunOptions()
    samples: int = Field(0, ge=0, description="clips of dev that go into the bundle; only where the data's licence allows")

    @model_validator(mode="before")
    @classmethod
    def _typed_by_system(cls, values: Any) -> Any:
        """Parse the options that are the named system's own, with its default head where none is chosen."""
        if not isinstance(values, Mapping):
            return values
        name = values.get("system", "mska_slr")
        system = SYSTEMS.get(name) if isinstance(name, str) else None
        if system is None:
            like = nearest(name, SYSTEMS) if isinstance(name, str) else ""
            raise RecipeError(f"system: {name!r} is no system{like}; there are: {', '.join(SYSTEMS)}")
        parsed = dict(values)
        for key, option, default in (("decoding", "head", system.answering[0]), ("validation", "select_by", system.selecting[0])):
            given = parsed.get(key) or {}
            if isinstance(given, Mapping) and not given.get(option):
                parsed[key] = {**given, option: default}
        for key, kind in (("network", system.options), ("inputs", system.inputs), ("losses", system.losses), ("decoding", system.decoding)):
            if not isinstance(parsed.get(key), Options):
                parsed[key] = _nested(kind, key, parsed.get(key) or {})
        return parsed

    @model_validator(mode="after")
    def _placed(self) -> Recipe:
        """No secret comes into a recipe by a URI: it would be stored with the run."""
        for key, value in (("data.shards", self.data.shards), ("run.root", self.run.root), *((f"init.{name}", path) for name, path in self.init.items())):
            try:
                location(value)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        system = SYSTEMS[self.system]
        for term in self.losses.weights:
            if term not in system.loss_terms:
                raise ValueError(f"losses.weights.{term} is no loss term{nearest(term, system.loss_terms)}; there are: {', '.join(sorted(system.loss_terms))}")
        if self.ensemble is not None and system.task != "islr" and not system.translates:
            raise ValueError(f"ensemble: members recognise isolated signs or translate, and {self.system} recognises glosses: train each by its own recipe")
        for key, head, known in (
            ("validation.select_by", self.validation.select_by, system.selecting),
            ("decoding.head", self.decoding.head, system.answering),
        ):
            if head not in known:
                raise ValueError(f"{key}: {head!r} is no head; there are: {', '.join(known)}")
        for key in ("num_keypoints", "max_frames"):
            needed, given = getattr(self.network, key, None), getattr(self.inputs, key, None)
            if needed is not None and given is not None and (given > needed if key == "max_frames" else given != needed):
                raise ValueError(f"inputs.{key} is {given}, but network.{key} is {needed}: the network can't take such clips")
        starts = starts_of(self.system)
        for name in self.init:
            if name not in starts:
                raise ValueError(f"init.{name} is nothing that {self.system} begins with{nearest(name, starts)}; there are: {', '.join(sorted(starts))}")
        conflict = system.conflict(self.network, self.inputs) if system.conflict else None
        if conflict:
            raise ValueError(conflict)
        if self.train.recompute and not system.recomputed:
            raise ValueError(f"train.recompute: {self.system} has no blocks whose activations are worth computing again")
        if self.train.sync_batch_norm and not system.synchronised:
            raise ValueError(f"train.sync_batch_norm: the norms of {self.system} count each worker's own clips; leave it off")
        if self.train.min_workers and self.train.zero_stage and self.optim.name == "sgd":
            raise ValueError("train.min_workers: the state of sgd at ZeRO stages 1-3 can't be divided anew among fewer workers; take stage 0, adam or adamw")
        if self.train.precision == "fp16" and not self.train.gpus_per_worker:
            raise ValueError("train.precision fp16 needs a GPU: set train.gpus_per_worker, or take bf16 or fp32")
        return self

    def member(self, name: str) -> Self:
        """The recipe of one member of the ensemble. Raises RecipeError where its changes don't fit."""
        members = self.ensemble.members if self.ensemble else {}
        if name not in members:
            raise RecipeError(f"{self.recipe} has no member {name!r}{nearest(name, members)}; there are: {', '.join(members) or 'none'}")
        return self.model_copy(update={"ensemble": None}).changed(members[name], where=f"ensemble.members.{name}")

    def changed(self, changes: Mapping[str, Any], *, where: str) -> Self:
        """The recipe with other values, by dotted key. Raises RecipeError that begins with `where`."""
        values = self.dump()
        try:
            for key, value in changes.items():
                set_value(values, key, value)
            return type(self).model_validate(values)
        except RecipeError as error:
            raise RecipeError(f"{where}: {error}") from None
        except ValidationError as error:
            raise RecipeError(f"{where}: {refusal(error.errors()[0], Recipe)}") from None

    def dump(self) -> dict[str, Any]:
        """The resolved recipe as plain values (JSON and YAML)."""
        return self.model_dump(mode="json")


def _copy(network: nn.Module, other: nn.Module) -> None:
    network.load_state_dict(other.state_dict())


def starts_of(system: str) -> Starts:
    """What a training of `system` may begin with, by name: a bundle of the same system, and what else the system names."""
    return {"bundle": BundleStart(system=system, fill=_copy), **SYSTEMS[system].starts}


def _nested(kind: type[Options], key: str, values: Any) -> Options:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        detail = error.errors()[0]
        raise RecipeError(refusal({**detail, "loc": (key, *detail["loc"])}, kind, prefix=key)) from None


def load_recipe(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe `name` (of workloads/recipes, or a path to a YAML file) with `overrides` such as `optim.lr=1e-3`.

    Raises RecipeError, one line with file, key and the nearest valid key, for whatever the schema refuses.
    """
    path = recipe_path(name)
    values = read_values(path)
    values.setdefault("recipe", path.stem)
    for override in overrides:
        override_value(values, override)
    return parse_recipe(values, where=str(path.name))


def parse_recipe(values: Mapping[str, Any], *, where: str) -> Recipe:
    """A recipe from plain values. Raises RecipeError that begins with `where`."""
    try:
        return Recipe.model_validate(values)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
    except ValidationError as error:
        raise RecipeError(f"{where}: {refusal(error.errors()[0], Recipe)}") from None
