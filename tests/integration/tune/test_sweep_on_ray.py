"""A sweep in a store, sent as a Ray job, whose driver is killed: a machine that has no copy of it goes on with the same trials, and one that always
crashes ends none else.

Takes a minute; with Ray Train below Ray Tune, which starts four times, two, on slow and busy cores five. `make test` sees a sweep on Ray in test_demo_tune.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
import yaml

from cluster.environment import REPOSITORY_ROOT
from cluster.sender import connect_client, embedded_uri
from models.bundle import load_bundle
from tests.integration.head_node import HeadNode
from tests.store import Store
from tests.unit.workloads.tiny_runs import NETWORK, write_tiny_shards
from tune.sweep_file import parse_sweep
from tune.sweep_report import BEST
from tune.sweeping import old_sweep
from tune.trials import LIST, read_record, read_trials
from workloads.bundles import open_bundle
from workloads.recipe import load_recipe

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1500)]

Result = TypeVar("Result")

CRASHING = 1e30  # a rate at which the loss isn't finite at the second step
FILE = {
    "space": {"optim.lr": {"choices": [1e-3, CRASHING]}, "losses.weights.ctc_body": {"low": 0.5, "high": 2.0}},
    "scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 2},
    "searcher": {"name": "random", "seed": 0},
    "budget": {"trials": 2, "at_once": 1},
}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_killed_sweep_goes_on(num_workers: int, ray_cluster: HeadNode, store: Store, tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(FILE), encoding="utf-8")
    small = (
        "train.epochs=24",  # so many that the first trial is still at it when its driver is killed, on a fast core, too
        "train.batch_size=4",
        f"train.num_workers={num_workers}",
        "validation.warmup_epochs=5",
        "tracking.register_as=null",
        "optim.clipping=0",
        "train.checkpoint_steps=3",
    )
    place = store.bucket / "runs" / "swept"
    settings = [NETWORK, f"data.shards={shards}", *small, f"run.root={place.parent}", "run.name=swept", f"tracking.uri={embedded_uri(tmp_path)}"]
    expected = listed(settings)
    assert {values["optim.lr"] for values in expected} == {1e-3, CRASHING}, "the seed gives both kinds"
    here, elsewhere = ({**store.environment, "SIGNRAY_WORK": str(tmp_path / name)} for name in ("here", "elsewhere"))
    new = ["--sweep", str(tmp_path / "sweep.yaml"), "--recipe", "mska_slr_small", *(part for entry in settings for part in ("--set", entry))]
    submit_sweep(ray_cluster, here, new, wait=False)
    deadline = time.monotonic() + 500
    while not any(name.startswith("trials/") and name.endswith("manifest-0.json") for name in place.sizes()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kill_driver(ray_cluster)
    before = (place / LIST).read_bytes()
    assert len(before.splitlines()) == 1
    told = submit_sweep(ray_cluster, elsewhere, ["--resume", str(place)], wait=True)
    assert "is started again" in told
    options, recipe, folder = in_environment(elsewhere, lambda: old_sweep(str(place)))
    assert (folder / LIST).read_bytes() == (place / LIST).read_bytes()
    assert (place / LIST).read_bytes().startswith(before)
    assert [trial.values for trial in read_trials(folder)] == expected
    for record in (read_record(options, folder, trial) for trial in read_trials(folder)):
        if record.trial.values["optim.lr"] == CRASHING:
            assert record.status == "failed"
            assert "not finite" in record.reason
        else:
            assert record.status in ("finished", "stopped early")
            assert open_bundle(f"{place}/trials/{record.trial.name}/bundle").checksum == load_bundle(record.trial.folder(folder) / "bundle").checksum
    assert not [name for name in place.sizes() if name.startswith("tune/")], "what Tune keeps is of one machine"
    (tmp_path / BEST).write_bytes((place / BEST).read_bytes())
    best = load_recipe(str(tmp_path / BEST))
    assert best.optim.lr == 1e-3
    assert best.run.root == recipe.run.root == str(place.parent)
    client = connect_client(embedded_uri(tmp_path))
    runs = {run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("signray").experiment_id])}
    assert set(runs) == {"swept", "swept/000", "swept/001"}
    assert {run.data.tags.get("mlflow.parentRunId") for name, run in runs.items() if name != "swept"} == {runs["swept"].info.run_id}


def submit_sweep(head: HeadNode, environment: dict[str, str], arguments: list[str], *, wait: bool) -> str:
    """Send a sweep as a Ray job; what it printed, where it is waited for."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", *([] if wait else ["--no-wait"]), "--address", head.dashboard_url]
    command += ["--working-dir", ".", "--runtime-env-json", json.dumps({"env_vars": environment}), "--", "python", "tune/sweep.py", *arguments]
    job = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    return job.stdout


def in_environment(environment: dict[str, str], action: Callable[[], Result]) -> Result:
    """An action as a machine with this environment would take it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return action()


def listed(settings: list[str]) -> list[dict[str, object]]:
    """The trials that an undisturbed sweep has."""
    from tune.proposals import RandomProposer

    proposer = RandomProposer(parse_sweep(FILE, load_recipe("mska_slr_small", settings), where="sweep.yaml"))
    return [proposer.propose(number) for number in range(2)]


def kill_driver(head: HeadNode) -> None:
    """The sweep's own process, wherever the job's supervisor started it."""
    drivers = [process for process in psutil.Process(head.pid).children(recursive=True) if "tune/sweep.py" in process.cmdline()[1:2]]
    assert len(drivers) == 1
    drivers[0].kill()
    drivers[0].wait(30)
