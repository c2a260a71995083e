"""An ensemble whose members train at once on a real Ray cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.ensemble import Ensemble
from tests.integration.head_node import HeadNode
from tests.unit.workloads.tiny_runs import assert_same_weights, last_weights, run_loop, tiny_sign_recipe, write_tiny_sign_shards
from workloads.training.events import EVENTS, read_events
from workloads.training.members import MEMBERS
from workloads.training.run import new_run, train

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(500)]


def test_members_train_at_once_and_as_they_would_alone(ray_cluster: HeadNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two starts of Ray Train beside each other, some 20 s."""
    shards = write_tiny_sign_shards(tmp_path / "shards")
    on_ray = ("train.num_workers=1", "train.cpus_per_worker=0.5", "ensemble.parallel=2", f"run.root={tmp_path}", "run.name=signs")
    recipe, folder = new_run(tiny_sign_recipe(shards, *on_ray))
    result = train(recipe, folder)
    assert result.exit_code == 0
    assert isinstance(result.bundle, Ensemble)
    told = capsys.readouterr().out
    assert "members: joint, bone, 2 at once" in told
    assert {line.split(":")[0] for line in told.splitlines() if "dev top-1 %" in line} == {"joint", "bone"}
    assert run_loop(tiny_sign_recipe(shards).member("bone"), tmp_path / "alone").finished
    assert_same_weights(last_weights(folder / MEMBERS / "bone"), last_weights(tmp_path / "alone"))
    assert [event["clips"] for event in read_events(folder / MEMBERS / "joint" / EVENTS) if event["kind"] == "validation"] == [10, 10]
