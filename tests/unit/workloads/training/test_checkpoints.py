"""Checkpoints: whole or not there, damage noticed, the best and the newest kept."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cluster.deepspeed_engine import deepspeed_config, initialize, single_process_group
from models.errors import CheckpointError
from workloads.training.checkpoints import (
    TAG,
    WEIGHTS,
    Position,
    best_checkpoint,
    checkpoint_name,
    checkpoints,
    damage,
    gap,
    newest_intact,
    prune,
    read_position,
    read_weights,
    write_checkpoint,
)

# DeepSpeed's ZeRO imports torch's compiler, which uses what torch itself has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")


@pytest.fixture(scope="module", params=[0, 2])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    with single_process_group():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        optimizer = torch.optim.Adam(network.parameters(), fused=True)
        yield initialize(network, optimizer, deepspeed_config(stage=request.param, micro_batch_size=8, world_size=1))


@pytest.fixture(scope="module")
def small_engine() -> Iterator[Any]:
    with single_process_group():
        network = nn.Linear(2, 2)
        yield initialize(network, torch.optim.Adam(network.parameters(), fused=True), deepspeed_config(stage=0, micro_batch_size=8, world_size=1))


def position(step: int, wer: float | None = None) -> Position:
    scores = {} if wer is None else {"ensemble": wer}
    return Position(step=step, epoch=step // 10, batches_done=0, world_size=1, zero_stage=0, error=wer, scores=scores)


def write(folder: Path, engine: Any, step: int, wer: float | None = None) -> Path:
    path = folder / checkpoint_name(step)
    assert write_checkpoint(path, engine, position(step, wer), rank=0) is None
    return path


def take_step(engine: Any) -> None:
    engine.backward(engine(torch.randn(8, 4)).square().sum())
    engine.step()


def test_what_is_written_is_read(engine: Any, tmp_path: Path) -> None:
    take_step(engine)
    path = tmp_path / checkpoint_name(12)
    before = {name: value.clone() for name, value in engine.module.state_dict().items()}
    assert write_checkpoint(path, engine, position(12, 34.5), rank=0, documents={"dev_predictions.jsonl": "{}\n"}) is None
    assert read_position(path) == position(12, 34.5)
    assert (path / "dev_predictions.jsonl").read_text() == "{}\n"
    assert all(torch.equal(value, before[name]) for name, value in read_weights(path).items())
    take_step(engine)
    engine.load_checkpoint(str(path), tag=TAG)
    assert all(torch.equal(value, before[name]) for name, value in engine.module.state_dict().items())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("harm", ["cut", "flip", "remove", "no_manifest", "empty_manifest"])
def test_damage_is_noticed(small_engine: Any, tmp_path: Path, harm: str) -> None:
    path = write(tmp_path, small_engine, 1)
    [states] = (path / TAG).iterdir()
    match harm:
        case "cut":
            os.truncate(states, states.stat().st_size // 2)
        case "flip":
            content = bytearray(states.read_bytes())
            content[len(content) // 2] ^= 1
            states.write_bytes(content)
        case "remove":
            (path / WEIGHTS).unlink()
        case "no_manifest":
            (path / "manifest-0.json").unlink()
        case "empty_manifest":
            (path / "manifest-0.json").write_text("null")
    assert damage(path) is not None
    assert (gap(path) is None) == (harm == "flip")  # the cheap look sees sizes only


def test_the_newest_intact_one_is_found_and_the_damaged_are_named(small_engine: Any, tmp_path: Path) -> None:
    paths = [write(tmp_path, small_engine, step) for step in (1, 2, 3)]
    (paths[2] / WEIGHTS).write_bytes(b"")
    assert newest_intact(tmp_path) == (paths[1], [f"{paths[2].name}: {WEIGHTS} is damaged"])
    for path in paths:
        (path / WEIGHTS).unlink(missing_ok=True)
    found, complaints = newest_intact(tmp_path)
    assert found is None
    assert len(complaints) == 3
    assert newest_intact(tmp_path / "nowhere") == (None, [])


@pytest.mark.parametrize(
    ("wers", "keep", "kept"),
    [
        ([50.0, 20.0, 30.0, 40.0], 2, [2, 3, 4]),  # the best, the newest and its substitute
        ([50.0, 40.0, 30.0, 20.0], 2, [3, 4]),  # the newest is the best: the one before is its substitute
        ([50.0, 20.0, None, None], 2, [2, 3, 4]),  # not validated ones don't count as best
        ([20.0, 30.0, 40.0, 50.0], 3, [1, 3, 4]),
        ([None, None, None, None], 2, [3, 4]),
        ([20.0, 20.0, 30.0, 30.0], 2, [2, 3, 4]),  # the latest among equals
    ],
)
def test_pruning_keeps_the_best_and_the_newest(small_engine: Any, tmp_path: Path, wers: list[float | None], keep: int, kept: list[int]) -> None:
    for step, wer in enumerate(wers, start=1):
        write(tmp_path, small_engine, step, wer)
    prune(tmp_path, keep=keep)
    assert [path.name for path in reversed(checkpoints(tmp_path))] == [checkpoint_name(step) for step in kept]


def test_pruning_removes_what_is_not_whole(small_engine: Any, tmp_path: Path) -> None:
    paths = [write(tmp_path, small_engine, step) for step in (1, 2, 3)]
    (paths[1] / "manifest-0.json").unlink()
    (tmp_path / f"writing_{checkpoint_name(4)}").mkdir()
    prune(tmp_path, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {paths[0].name, paths[2].name}


def test_the_best_one_is_intact(small_engine: Any, tmp_path: Path) -> None:
    paths = [write(tmp_path, small_engine, step, wer) for step, wer in ((1, 30.0), (2, 10.0), (3, None))]
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best[0] == paths[1]
    (paths[1] / WEIGHTS).write_bytes(bytes((paths[1] / WEIGHTS).stat().st_size))
    second = best_checkpoint(tmp_path)
    assert second is not None
    assert second[0] == paths[0]
    assert best_checkpoint(tmp_path / "nowhere") is None


@pytest.mark.parametrize("writer", ["torch.save", "workloads.training.checkpoints.save_file", "pathlib.Path.write_text"])
def test_a_full_disk_is_a_reason_not_an_error(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    old = write(tmp_path, engine, 5)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(writer, full)
        assert write_checkpoint(old, engine, position(5, 1.0), rank=0) == "No space left on device"
    assert damage(old) is None  # the one of the same step that was there before
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


def test_a_write_that_the_kernel_cuts_is_a_reason_not_an_error(engine: Any, tmp_path: Path) -> None:
    """What a full disk really does to torch and safetensors: both raise errors of their own, not OSError."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        reason = write_checkpoint(tmp_path / checkpoint_name(1), engine, position(1), rank=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert reason
    assert list(tmp_path.iterdir()) == []
    write(tmp_path, engine, 1)


def test_a_position_of_another_version_is_refused(small_engine: Any, tmp_path: Path) -> None:
    path = write(tmp_path, small_engine, 1)
    (path / "position.json").write_text(json.dumps({"step": 1, "novelty": 2}))
    with pytest.raises(CheckpointError, match="not the position of a checkpoint"):
        read_position(path)
