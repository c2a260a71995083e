"""Tracking through a real MLflow server that goes away and comes back: nothing is lost, nothing arrives twice.

Slow: the server takes some 5 s to start each time; one is shared by all.
"""

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.environment import REPOSITORY_ROOT
from cluster.registry import resolve
from cluster.sender import connect_client
from cluster.tracking import MlflowTracker
from tests.integration.mlflow_server import MlflowServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Not started yet: the first test begins with the server away."""
    made = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield made
    made.kill()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "weights").write_bytes(b"w" * 100_000)
    return folder


def until(done: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def steps_of(client: Any, run_id: str | None) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, "loss")]


def test_server_away_from_the_start_to_the_end(server: MlflowServer, bundle: Path, tmp_path: Path) -> None:
    """The command that the message names sends it all."""
    messages: list[str] = []
    began = time.monotonic()
    tracker = MlflowTracker(tmp_path / "run one", experiment="signs", tracking_uri=server.uri, notify=messages.append, interval_s=0.2, retry_s=0.2)
    tracker.log_params({"lr": 0.1})
    for step in range(100):
        tracker.log_metrics({"loss": 1.0}, step=step)
    assert time.monotonic() - began < 1
    assert tracker.register(bundle, name="mska", alias="champion") is None
    tracker.close("FINISHED")
    assert tracker.run_id is None
    assert len(messages) == 2
    assert "is away" in messages[0]
    command = shlex.split(messages[1].splitlines()[-1])
    assert command == ["python", "-m", "cluster.tracking", "send", str(tmp_path / "run one")]
    failed = subprocess.run([sys.executable, *command[1:]], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
    assert "is away" in failed.stderr

    server.start()
    sent = subprocess.run([sys.executable, *command[1:]], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True)
    assert "is sent" in sent.stdout
    client = connect_client(server.uri)
    (run,) = client.search_runs([client.get_experiment_by_name("signs").experiment_id])
    assert (run.info.status, run.info.run_name, run.data.params) == ("FINISHED", "run one", {"lr": "0.1"})
    assert steps_of(client, run.info.run_id) == list(range(100))
    found = resolve("models:/mska@champion", tracking_uri=server.uri, destination=tmp_path / "served")
    assert (found / "weights").stat().st_size == 100_000


def test_server_killed_in_the_middle(server: MlflowServer, bundle: Path, tmp_path: Path) -> None:
    messages: list[str] = []
    tracker = MlflowTracker(tmp_path / "run", experiment="signs", tracking_uri=server.uri, notify=messages.append, interval_s=0.1, retry_s=0.2)
    for step in range(50):
        tracker.log_metrics({"loss": 1.0}, step=step)
    until(lambda: tracker.run_id)
    server.kill()
    for step in range(50, 100):
        began = time.monotonic()
        tracker.log_metrics({"loss": 1.0}, step=step)
        assert time.monotonic() - began < 0.5
    tracker.log_artifact(bundle / "weights", "files")
    until(lambda: messages)
    server.start()
    until(lambda: len(messages) == 2)
    assert "is back" in messages[1]
    version = tracker.register(bundle, name="mska", alias="champion")
    tracker.spool.state_file.unlink()  # as if nothing of it had been noted
    tracker.log_metrics({"loss": 1.0}, step=100)
    tracker.close()
    assert len(messages) == 2
    client = connect_client(server.uri)
    assert steps_of(client, tracker.run_id) == list(range(101))
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert [int(found.version) for found in client.search_model_versions(f"run_id = '{tracker.run_id}'")] == [version]
    assert sorted(item.path for item in client.list_artifacts(tracker.run_id)) == ["bundle", "files"]


def test_registry_errors_are_one_line(server: MlflowServer) -> None:
    with pytest.raises(LookupError, match="is not in the registry") as missing:
        resolve("models:/nobody@champion", tracking_uri=server.uri)
    server.kill()
    with pytest.raises(ConnectionError, match="doesn't answer") as away:
        resolve("models:/mska@champion", tracking_uri=server.uri)
    assert "\n" not in str(missing.value) + str(away.value)
