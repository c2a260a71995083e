"""`train.py --dry-run`: what a recipe would need, before anything of it runs; refuses what can't fit, with the nearest setting that does."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from cluster.environment import quiet_logging
from cluster.memory import available_bytes
from cluster.ray_cluster import default_num_cpus, num_cores
from cluster.storage import Location
from models.errors import TrainingError
from workloads.recipe import Recipe
from workloads.shard_files import open_shard
from workloads.shards import ShardSet
from workloads.training.folders import placed, runs_root
from workloads.training.footprint import Measured, Plan, checkpoint_bytes, footprint, nearest_fit, needed, settings
from workloads.training.preflight import generate_shards, preflight, steps_in_all, task_of
from workloads.training.probe import Probe, Speed
from workloads.training.progress import duration
from workloads.training.run import members_of
from workloads.training.translator_start import completed

RAY_START_S = 20  # from `connect` to the first step
BLOCK = 128 << 20  # Ray Data's largest block
SMALLEST_STORE = 75 << 20
GIB = 1 << 30
BUSY = 0.8  # share of the time in which the probe had its cores, below which others are told of


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a worker may use. memory: bytes of the GPU, or of the host; None where it isn't known. source: where the number is from."""

    memory: int | None
    source: str


def dry_run(recipe: Recipe, *, worker_gib: float | None = None) -> None:
    """Print what the recipe needs. Raises TrainingError where a worker or the disk has no room for it; of an ensemble each member is looked at.

    worker_gib: memory that a worker may use, where the training runs on other machines than this one.
    """
    quiet_logging()
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"shards": str(placed(recipe.data.shards))})})
    generate_shards(recipe)
    shards = ShardSet.open(recipe.data.shards)
    recipe = completed(recipe)
    for name, each in (members_of(recipe) or {"": recipe}).items():
        if name:
            print(f"member {name}")
        _look(each, shards, worker_gib)


def _look(recipe: Recipe, shards: ShardSet, worker_gib: float | None) -> None:
    for text in preflight(recipe, shards):
        print(text)
    steps = steps_in_all(recipe, shards)
    if steps == 0:
        raise TrainingError("the training clips of a worker don't fill one step: use fewer workers, a smaller train.batch_size or less optim.accumulation")
    room = room_of(recipe, worker_gib)
    torch.set_num_threads(num_cores())
    probe = Probe(recipe, shards, task_of(recipe, shards), "cuda" if recipe.train.gpus_per_worker and torch.cuda.is_available() else "cpu")
    measured, plan = probe.measure(), plan_of(recipe, shards)
    print("\n".join(_memory_lines(recipe, measured, plan, room, steps)))
    _print_store(recipe, shards)
    _check_memory(measured, plan, room)
    _check_disk(recipe, measured, plan)
    print(_time_line(recipe, shards, probe, steps), flush=True)
    if room.memory is None:  # below all else, where nobody takes the silence for a yes
        print(f"not judged   whether a worker's memory suffices ({room.source}): give --worker-memory GIB, what a worker there may use", flush=True)


def plan_of(recipe: Recipe, shards: ShardSet) -> Plan:
    options = recipe.train
    return Plan(
        num_workers=options.num_workers,
        zero_stage=options.zero_stage,
        batch_size=options.batch_size,
        accumulation=recipe.optim.accumulation,
        shuffle_pool=recipe.data.shuffle_pool,
        clips=shards.corpus.splits[recipe.data.train_split].recordings,
        moments=(1 if recipe.optim.momentum else 0) if recipe.optim.name == "sgd" else 2,
        on_gpu=options.gpus_per_worker > 0,
    )


def room_of(recipe: Recipe, worker_gib: float | None) -> Room:
    """The memory of a worker: what the user says, this machine's GPU, or an equal share of this host's memory."""
    on_gpu = recipe.train.gpus_per_worker > 0
    if worker_gib is not None:
        return Room(memory=int(worker_gib * GIB), source="--worker-memory")
    if on_gpu and torch.cuda.is_available():
        share = int(torch.cuda.get_device_properties(0).total_memory * min(1.0, recipe.train.gpus_per_worker))
        return Room(memory=share, source="this machine's GPU")
    if on_gpu or (os.environ.get("RAY_ADDRESS") and recipe.train.num_workers):
        return Room(memory=None, source="no GPU on this machine" if on_gpu else "RAY_ADDRESS: workers run on other machines")
    return Room(memory=available_bytes() // max(1, recipe.train.num_workers), source="this host's free memory")


def _memory_lines(recipe: Recipe, measured: Measured, plan: Plan, room: Room, steps: int) -> list[str]:
    parts = ", ".join(f"{name} {gib(value)}" for name, value in vars(footprint(measured, plan)).items())
    where = "of a GPU's memory" if plan.on_gpu else "of memory"
    have = f", {gib(room.memory)} there ({room.source})" if room.memory is not None else ""
    clips = plan.batch_size * plan.accumulation * plan.world
    fewest = replace(plan, num_workers=recipe.train.min_workers or plan.num_workers)
    fewer = [f"             {gib(needed(measured, fewest))} where only {fewest.world} of them are left"] if fewest.world < plan.world else []
    return [
        f"parameters   {measured.parameters:,} ({measured.trainable:,} trained)",
        f"steps        {steps:,} of {clips} clips in {recipe.train.epochs} epochs of {plan.clips:,} clips",
        f"per worker   {gib(needed(measured, plan))} {where} at the longest clip{have}",
        f"             {parts} (ZeRO stage {plan.zero_stage}, {plan.world} worker{'s' if plan.world > 1 else ''}, {recipe.train.precision})",
        *fewer,
        f"checkpoints  {gib(checkpoint_bytes(measured, plan))} each, {recipe.train.keep_checkpoints} kept",
    ]


def store_bytes(recipe: Recipe, shards: ShardSet) -> int:
    """Object store that Ray Data keeps busy: a block that each worker reads, one that it prefetches, and one for each task that reads."""
    biggest = max(_unpacked(file) for split in (recipe.data.train_split, recipe.data.dev_split) for file in shards.files(split))
    workers = recipe.train.num_workers
    return max(SMALLEST_STORE, min(biggest, BLOCK) * (2 * workers + default_num_cpus(workers)))


def _unpacked(file: Location) -> int:
    with open_shard(file) as parquet:
        metadata = parquet.metadata
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def _print_store(recipe: Recipe, shards: ShardSet) -> None:
    if recipe.train.num_workers == 0:
        print("object store none: this process trains, without Ray")
        return
    wanted = store_bytes(recipe, shards)
    shm = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0
    short = f"; /dev/shm of this host has {gib(shm)}: Ray would use the disk, which is slow" if shm < wanted and not os.environ.get("RAY_ADDRESS") else ""
    print(f"object store {gib(wanted)}{short}")


def _check_memory(measured: Measured, plan: Plan, room: Room) -> None:
    if room.memory is None or needed(measured, plan) <= room.memory:
        return
    near = nearest_fit(measured, plan, room.memory)
    advice = f"the nearest that fits: {settings(plan, near)}" if near else "no batch size, ZeRO stage or number of workers makes it fit: take a smaller network"
    raise TrainingError(f"can't fit: a worker needs {gib(needed(measured, plan))} at the longest clip, {gib(room.memory)} are there ({room.source}); {advice}")


def _check_disk(recipe: Recipe, measured: Measured, plan: Plan) -> None:
    """One more checkpoint than are kept is there while it is written."""
    root = runs_root(recipe.run.root)
    exists = next(path for path in (root, *root.parents) if path.exists())
    wanted, free = checkpoint_bytes(measured, plan) * (recipe.train.keep_checkpoints + 1), shutil.disk_usage(exists).free
    if wanted > free:
        kept = max(2, free // max(1, checkpoint_bytes(measured, plan)) - 1)
        raise TrainingError(
            f"can't fit: checkpoints need {gib(wanted)} below {root}, {gib(free)} are free; make room, or set run.root"
            + (f" or train.keep_checkpoints={kept}" if kept < recipe.train.keep_checkpoints else "")
        )


def _time_line(recipe: Recipe, shards: ShardSet, probe: Probe, steps: int) -> str:
    if recipe.train.gpus_per_worker and probe.device == "cpu":
        return "time         not measured: the recipe trains on GPUs, and this machine has none"
    torch.set_num_threads(recipe.train.threads or num_cores())
    speed = probe.time()
    seconds = expected_seconds(recipe, shards, speed, steps)
    crowded = crowding(recipe)
    note = f", of which {crowded:.1f}× for {recipe.train.num_workers} workers on {num_cores()} cores" if crowded > 1 else ""
    busy = f"; other programs take the cores, an idle machine needs about {duration(seconds * speed.own_share)}" if speed.own_share < BUSY else ""
    return f"time         {duration(seconds)} expected ({seconds / 3600:.2f} hours): {speed.step_s:.3g} s a step here{note}{busy}"


def crowding(recipe: Recipe) -> float:
    """How much slower a worker is where this host has fewer cores than its workers have threads."""
    if recipe.train.gpus_per_worker or os.environ.get("RAY_ADDRESS"):
        return 1.0
    return max(1.0, max(1, recipe.train.num_workers) * (recipe.train.threads or num_cores()) / num_cores())


def expected_seconds(recipe: Recipe, shards: ShardSet, speed: Speed, steps: int) -> float:
    """Of the whole run: steps, validations and Ray's start. What reduces gradients between hosts isn't in it."""
    dev = shards.corpus.splits[recipe.data.dev_split].recordings / max(1, recipe.train.num_workers)
    validations = math.ceil(recipe.train.epochs / recipe.validation.every_epochs)
    work = steps * speed.step_s + validations * dev * speed.evaluation_clip_s
    return work * crowding(recipe) + (RAY_START_S if recipe.train.num_workers else 0)


def gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / GIB:.2f} GiB" if size >= GIB / 2 else f"{size / (1 << 20):.0f} MiB"
