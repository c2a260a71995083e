"""The driver's side of workers on Ray: how long it waits for them, what it says of a cluster that lacks something, and of workers that fail."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_cluster import ClusterInfo
from models.errors import RecipeError, TrainingError
from tests.unit.workloads.tiny_runs import setting_of, started, tiny_recipe
from workloads.shards import ShardSet
from workloads.training import workers
from workloads.training.workers import FAILURES, _start_attempts, ray_cluster, train_on_ray


@pytest.mark.parametrize(("address", "timeout", "attempts"), [(None, None, 2), ("local", "15", 2), ("10.0.0.1:6379", None, 30), ("auto", "15", 120)])
def test_a_cluster_may_have_to_bring_nodes_up(monkeypatch: pytest.MonkeyPatch, address: str | None, timeout: str | None, attempts: int) -> None:
    for name, value in (("RAY_ADDRESS", address), ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", timeout)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert _start_attempts() == attempts


def fake_connect(**facts: Any) -> Callable[..., Any]:
    @contextmanager
    def connect(**_: Any) -> Any:
        yield ClusterInfo(**{"address": "10.0.0.1:6379", "dashboard_url": None, "num_cpus": 3.0, "num_gpus": 0.0, "private": True, **facts})

    return connect


def test_gpus_that_this_host_lacks_are_refused(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "connect", fake_connect())
    recipe = tiny_recipe(tiny_shards, "train.num_workers=2", "train.gpus_per_worker=1")
    with (
        pytest.raises(RecipeError, match=r"need 2 GPUs, this host has 0: train on CPUs with --set train.gpus_per_worker=0, or set RAY_ADDRESS"),
        ray_cluster(recipe),
    ):
        raise AssertionError("must not be reached")


def test_a_cluster_that_is_too_small_is_waited_for_and_said(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workers, "connect", fake_connect(private=False))
    with ray_cluster(tiny_recipe(tiny_shards, "train.num_workers=3", "train.gpus_per_worker=0.5")):
        pass
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "connected to Ray at 10.0.0.1:6379"
    assert told[1] == "the recipe's workers need 1.5 GPUs, the cluster has 0: waiting until there are more"
    assert told[2].startswith("the recipe's workers and Ray Data need 4 CPUs, the cluster has 3")


class FailedTrainer:
    def __init__(self, error: Exception | None) -> None:
        self.error, self.return_value = error, None

    def fit(self) -> FailedTrainer:
        if self.error:
            raise self.error
        return self


def test_workers_that_fail_too_often_end_in_one_line(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ActorUnavailableError
    from ray.train import ControllerError, WorkerGroupError

    error = WorkerGroupError("Traceback ...\n  File x\n", {1: RuntimeError("out of memory"), 0: RuntimeError("Traceback\nCUDA error: out of memory\n")})
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(error))
    recipe, folder = started(tiny_shards, tmp_path)
    setting = setting_of(recipe, folder)
    with pytest.raises(TrainingError) as raised:
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    assert str(raised.value) == f"training failed (CUDA error: out of memory): see {folder / FAILURES}, then continue with --resume"
    assert "Traceback" in (folder / FAILURES).read_text()
    controller = ControllerError(ValueError("no node has 9 CPUs"))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(controller))
    with pytest.raises(TrainingError, match=r"^training failed \(no node has 9 CPUs\)"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(ActorUnavailableError("Socket closed", b"1" * 16)))
    with pytest.raises(TrainingError, match=rf"^Ray lost the run \(.*Socket closed.*\): see .*{FAILURES}, then --resume {folder}$"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(controller))
    (folder / "fault").write_text("clip 7: no keypoints")
    assert train_on_ray(recipe, setting, ShardSet.open(tiny_shards)).fault == "clip 7: no keypoints"
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(None))
    with pytest.raises(TrainingError, match="ended without a result"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
