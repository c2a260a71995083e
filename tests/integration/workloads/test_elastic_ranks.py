"""Runs whose number of workers changes, at every ZeRO stage, three processes and no Ray; stage 2 by two is in tests/unit. Two minutes: fifteen trainings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch.multiprocessing as mp

from cluster.ray_cluster import free_port
from tests.unit.workloads.elastic_parts import assert_same_course, train_part, workers
from tests.unit.workloads.tiny_runs import write_tiny_shards

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RUNS = {
    "stage0": ("train.zero_stage=0",),
    "stage1": ("train.zero_stage=1",),
    "stage3": ("train.zero_stage=3",),
    "frozen2": ("train.zero_stage=2", "optim.frozen=[streams.body]"),
    "frozen3": ("train.zero_stage=3", "optim.frozen=[streams.body]"),
    "sgd": ("train.zero_stage=0", "optim.name=sgd", "optim.lr=1e-4"),
}
REFERENCE = {"frozen2": "frozen", "frozen3": "frozen", "sgd": "plain_sgd"}
WHOLE = {"whole": (), "frozen": ("optim.frozen=[streams.body]",), "plain_sgd": RUNS["sgd"]}


def work(rank: int, folder: str, count: int, port: int, until: int, prefix: str, names: tuple[str, ...]) -> None:
    path = Path(folder)
    with workers(rank, count, port):
        for name in names:
            train_part(path / "shards", path / f"{prefix}{name}", *{**RUNS, **WHOLE}[name], until=until)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("elastic")
    write_tiny_shards(path / "shards")
    for count, until, prefix, names in (
        (1, 2, "", tuple(WHOLE)),
        (3, 1, "shrinking_", tuple(RUNS)),
        (2, 2, "shrinking_", tuple(RUNS)),
        (1, 1, "growing_", ("stage1", "stage3")),
        (3, 2, "growing_", ("stage1", "stage3")),
    ):
        mp.spawn(work, args=(str(path), count, free_port(), until, prefix, names), nprocs=count)
    return path


@pytest.mark.parametrize("name", RUNS)
def test_from_three_workers_to_two(folder: Path, name: str) -> None:
    assert_same_course(folder / f"shrinking_{name}", folder / REFERENCE.get(name, "whole"))


@pytest.mark.parametrize("name", ["stage1", "stage3"])
def test_from_one_worker_to_three(folder: Path, name: str) -> None:
    assert_same_course(folder / f"growing_{name}", folder / "whole")
