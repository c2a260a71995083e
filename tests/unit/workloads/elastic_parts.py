"""Runs of three shares in processes of their own, by as many workers as there are: no Ray."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from cluster.deepspeed_engine import import_deepspeed, single_process_group
from tests.unit.workloads.tiny_runs import setting_of, tiny_recipe
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, read_events
from workloads.training.loop import run_training
from workloads.training.session import LocalSession

ELASTIC = ("train.num_workers=3", "train.min_workers=1", "train.batch_size=2", "optim.lr=1e-3")


@contextmanager
def workers(rank: int, count: int, port: int) -> Iterator[None]:
    """This process as one of `count` workers of a group; a group of one needs nobody else."""
    torch.set_num_threads(1)
    if count == 1:
        with single_process_group():
            yield
        return
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=count)
    yield
    import_deepspeed().comm.destroy_process_group()


def train_part(shards: Path, folder: Path, *overrides: str, until: int) -> None:
    """One worker's side of a run, until the end of an epoch."""
    folder.mkdir(exist_ok=True)
    session = LocalSession(ShardSet.open(shards), train_split="train", dev_split="dev")
    session.rank, session.world_size = dist.get_rank(), dist.get_world_size()
    outcome = run_training((recipe := tiny_recipe(shards, *ELASTIC, *overrides)), replace(setting_of(recipe, folder), until_epoch=until), session)
    assert outcome.fault is None, outcome.fault


def assert_same_course(folder: Path, whole: Path) -> None:
    """The losses of every step within rounding, and the same scores on dev."""
    assert len(_losses(whole)) == 8
    assert _losses(folder) == pytest.approx(_losses(whole), rel=1e-5)
    assert _scores(folder) == _scores(whole)


def _losses(folder: Path) -> list[float]:
    return [event["terms"]["loss"] for event in read_events(folder / EVENTS) if event["kind"] == "step"]


def _scores(folder: Path) -> list[dict[str, float]]:
    return [event["scores"] for event in read_events(folder / EVENTS) if event["kind"] == "validation"]
