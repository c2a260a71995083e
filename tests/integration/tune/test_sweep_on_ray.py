"""A sweep sent as a Ray job, with Ray Train below Ray Tune, whose driver is killed: the next start goes on with the same trials, and one that always crashes
ends none else.

Takes most of a minute: each trial starts Ray Train, and one of them twice more, because it crashes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from cluster.environment import REPOSITORY_ROOT
from cluster.sender import connect_client, embedded_uri
from models.bundle import load_bundle
from tests.integration.head_node import HeadNode
from tests.unit.workloads.tiny_runs import NETWORK, write_tiny_shards
from tune import sweep
from tune.sweep_file import parse_sweep
from tune.sweeping import old_sweep
from tune.trials import read_record, read_trials
from workloads.recipe import load_recipe
from workloads.training.events import EVENTS, read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CRASHING = 1e30  # a rate at which the loss isn't finite at the second step
FILE = {
    "space": {"optim.lr": {"choices": [1e-3, CRASHING]}, "losses.weights.ctc_body": {"low": 0.5, "high": 2.0}},
    "scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 2},
    "searcher": {"name": "random", "seed": 0},
    "budget": {"trials": 3, "at_once": 1},
}


def test_a_killed_sweep_goes_on(ray_cluster: HeadNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = write_tiny_shards(tmp_path / "shards")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(FILE), encoding="utf-8")
    small = ("train.epochs=3", "train.batch_size=4", "train.num_workers=1", "validation.warmup_epochs=5", "tracking.register_as=null", "optim.clipping=0")
    settings = [NETWORK, f"data.shards={shards}", *small, f"run.root={tmp_path}", "run.name=swept"]
    expected = listed(settings)
    assert {values["optim.lr"] for values in expected} == {1e-3, CRASHING}, "the seed gives both kinds"
    folder = tmp_path / "swept"
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--no-wait", "--address", ray_cluster.dashboard_url, "--working-dir", ".", "--"]
    command = [*submit, "python", "tune/sweep.py", "--sweep", str(tmp_path / "sweep.yaml"), "--recipe", "mska_slr_small"]
    command += [part for entry in settings for part in ("--set", entry)]
    job = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    deadline = time.monotonic() + 120
    while not any(read_events(path) for path in folder.glob(f"trials/*/{EVENTS}")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    kill_driver(ray_cluster)
    begun = read_trials(folder)
    assert 1 <= len(begun) < 3
    assert sweep.main(["--resume", str(folder)]) == 0
    assert [trial.values for trial in read_trials(folder)] == expected
    options, _, _ = old_sweep(str(folder))
    for record in (read_record(options, folder, trial) for trial in read_trials(folder)):
        if record.trial.values["optim.lr"] == CRASHING:
            assert record.status == "failed"
            assert "not finite" in record.reason
        else:
            assert record.status in ("finished", "stopped early")
            load_bundle(record.trial.folder(folder) / "bundle")
    assert "is started again" in capsys.readouterr().out
    best = load_recipe(str(folder / "best.yaml"))
    assert best.optim.lr == 1e-3
    client = connect_client(embedded_uri(tmp_path))
    runs = {run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("signray").experiment_id])}
    assert set(runs) == {"swept", "swept/000", "swept/001", "swept/002"}
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if name != "swept"} == {runs["swept"].info.run_id}


def listed(settings: list[str]) -> list[dict[str, object]]:
    """The trials that an undisturbed sweep has."""
    from tune.proposals import RandomProposer

    proposer = RandomProposer(parse_sweep(FILE, load_recipe("mska_slr_small", settings), where="sweep.yaml"))
    return [proposer.propose(number) for number in range(3)]


def kill_driver(head: HeadNode) -> None:
    """The sweep's own process, wherever the job's supervisor started it."""
    drivers = [process for process in psutil.Process(head.pid).children(recursive=True) if "tune/sweep.py" in process.cmdline()[1:2]]
    assert len(drivers) == 1
    drivers[0].kill()
    drivers[0].wait(30)
