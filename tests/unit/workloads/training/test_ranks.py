"""What two ranks do together: one that fails must not leave the other waiting; a run goes on with fewer of them, or more. Two processes, no Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from cluster.ray_cluster import free_port
from models.errors import TrainingError
from tests.unit.workloads.elastic_parts import assert_same_course, train_part, workers
from tests.unit.workloads.tiny_runs import messages, write_tiny_shards
from workloads.training.checkpoints import TAG, Position, checkpoint_name, checkpoints, damage, write_checkpoint
from workloads.training.events import EVENTS, read_events
from workloads.training.faults import check_shared_folder, gather
from workloads.training.validation import same_statistics

WORLD = 2


def work(rank: int, folder: str, port: int) -> None:
    path = Path(folder)
    with workers(rank, WORLD, port):
        train_part(path / "shards", path / "shrinking", "train.zero_stage=2", until=1)
        answers = {"gathered": gather(rank), "statistics": _statistics(rank), "blind": _blind(rank, path), "reasons": _reasons(rank, path)}
    (path / f"answers-{rank}.json").write_text(json.dumps(answers))
    if rank == 0:
        with workers(0, 1, port):
            train_part(path / "shards", path / "shrinking", "train.zero_stage=2", until=2)
            train_part(path / "shards", path / "whole", until=2)


def _statistics(rank: int) -> list[list[float]]:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(3))
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.arange(buffer.numel()) + 10.0 * rank + (100.0 if name.endswith("var") else 0.0))
    same_statistics(network)
    return [buffer.tolist() for buffer in network.buffers() if buffer.is_floating_point()]


def _blind(rank: int, folder: Path) -> str:
    try:
        check_shared_folder(folder if rank == 0 else folder / "not-here")
    except TrainingError as error:
        return str(error)
    return ""


def _reasons(rank: int, folder: Path) -> list[str | None]:
    """Of checkpoints for which nobody's, rank 0's and rank 1's disk is full."""
    from cluster.deepspeed_engine import deepspeed_config, initialize

    network = nn.Linear(4, 4)
    engine = initialize(network, torch.optim.Adam(network.parameters(), fused=True), deepspeed_config(stage=2, micro_batch_size=2, world_size=WORLD))
    engine.backward(engine(torch.ones(2, 4)).sum())
    engine.step()
    reasons = []
    real = torch.save
    for step, full in enumerate((None, 0, 1)):
        torch.save = _full if rank == full else real
        position = Position(step=step, epoch=0, batches_done=0, world_size=WORLD, zero_stage=2)
        reasons.append(write_checkpoint(folder / "checkpoints" / checkpoint_name(step), engine, position, rank=rank))
    torch.save = real
    engine.load_checkpoint(str(folder / "checkpoints" / checkpoint_name(0)), tag=TAG)
    return reasons


def _full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks")
    (path / "checkpoints").mkdir()
    write_tiny_shards(path / "shards")
    mp.spawn(work, args=(str(path), free_port()), nprocs=WORLD)
    return path


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"answers-{rank}.json").read_text()) for rank in range(WORLD)]


def test_gather_is_in_the_order_of_the_ranks(answers: list[dict[str, Any]]) -> None:
    assert [answer["gathered"] for answer in answers] == [[0, 1], [0, 1]]


def test_all_ranks_have_the_statistics_of_rank_0(answers: list[dict[str, Any]]) -> None:
    assert [answer["statistics"] for answer in answers] == [[[0, 1], [100, 101], [0, 1, 2], [100, 101, 102]]] * 2


def test_a_folder_that_one_rank_does_not_see_is_every_ranks_error(answers: list[dict[str, Any]]) -> None:
    assert all("is not seen on" in answer["blind"] for answer in answers)


def test_a_disk_that_is_full_for_one_rank_costs_all_the_same_checkpoint(answers: list[dict[str, Any]], folder: Path) -> None:
    assert [answer["reasons"] for answer in answers] == [[None, "No space left on device", "No space left on device"]] * 2
    [whole] = checkpoints(folder / "checkpoints")
    assert whole.name == checkpoint_name(0)
    assert damage(whole) is None
    assert {path.name for path in whole.glob("manifest-*")} == {"manifest-0.json", "manifest-1.json"}
    assert list((folder / "checkpoints").iterdir()) == [whole]


def test_a_part_of_another_rank_that_is_lost_is_noticed(folder: Path) -> None:
    [whole] = checkpoints(folder / "checkpoints")
    (whole / "manifest-1.json").rename(whole / "lost")
    assert damage(whole) == "not a whole checkpoint (FileNotFoundError)"
    (whole / "lost").rename(whole / "manifest-1.json")
    [part] = (whole / TAG).glob("zero_pp_rank_1_*")
    part.unlink()
    assert damage(whole) == f"{TAG}/{part.name} is missing"


def test_a_run_that_loses_a_worker_takes_the_steps_of_one_that_does_not(folder: Path) -> None:
    assert_same_course(folder / "shrinking", folder / "whole")
    assert messages(folder / "shrinking") == ["resumed from checkpoint_00000004: step 4, epoch 2, with 1 of 3 workers"]
    [resumed] = [event for event in read_events(folder / "shrinking" / EVENTS) if event["kind"] == "resumed"]
    assert (resumed["step"], resumed["workers"], resumed["steps_lost"]) == (4, 1, 0)
    assert resumed["seconds_lost"] >= 0
    assert not (folder / "shrinking" / "universal").exists()
