"""PostgreSQL behind MLflow's server and behind Optuna, and each of them away: nothing waits for them, and in the end everything is there once. Two minutes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow.fs import FileSelector, FileType, S3FileSystem

from cluster.sender import connect_client
from cluster.tracking import MlflowTracker
from tests.integration.cluster.lab import wait_until
from tests.integration.cluster.programs import postgres
from tests.integration.cluster.record import Record
from tests.integration.mlflow_server import MlflowServer
from tests.store import KEY, SECRET
from tests.unit.tune.sweeps import small_sweep
from tests.unit.workloads.tiny_runs import tiny_recipe, write_tiny_shards
from tune.study import TRIAL_KEY
from tune.sweeping import new_sweep, run_sweep

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STEPS, STEP_S = 400, 0.05


@pytest.mark.every_run
def test_database_and_server_away(tmp_path: Path, record: Record) -> None:
    """Three starts of MLflow's server and twenty seconds of steps."""
    messages: list[str] = []
    with postgres() as database:
        server = MlflowServer(tmp_path, store=database.uri)
        server.start()
        try:
            tracker = MlflowTracker(tmp_path / "run", experiment="signs", tracking_uri=server.uri, notify=messages.append, interval_s=0.2, retry_s=1)
            wait_until(lambda: tracker.run_id is not None, 60)
            events: dict[int, Callable[[], None]] = {50: database.crash, 150: database.start, 250: server.kill}
            longest = max(timed_step(tracker, step, events) for step in range(STEPS))
            server.start()
            tracker.close()
        finally:
            server.kill()
        server.start()
        try:
            points = connect_client(server.uri).get_metric_history(tracker.run_id, "loss")
        finally:
            server.kill()
    record("MLflow on PostgreSQL, database or server away: longest wait of a training step", 1000 * longest, "ms", at_most=100)
    assert longest < 2, "it was waited for, whatever else the machine had to do"
    counts = Counter(point.step for point in points)
    assert sorted(counts) == list(range(STEPS)), "a point is missing"
    assert set(counts.values()) == {1}, "a point is there twice"
    assert any("is away" in text for text in messages)


def test_the_servers_script(store_address: tuple[str, int], tmp_path: Path) -> None:
    """What Compose and Kubernetes start: it makes its buckets, and keeps runs in the database and artifacts in the store."""
    from mlflow import MlflowClient

    store = f"http://{store_address[0]}:{store_address[1]}"
    secrets = {"POSTGRES_PASSWORD": "none asked for", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in secrets.items():
        (tmp_path / name).write_text(f"{value}\n")
    with postgres() as database:
        for statement in ("CREATE ROLE mlflow LOGIN", "CREATE DATABASE mlflow OWNER mlflow"):
            database.execute(statement)
        variables = {f"{name}_FILE": str(tmp_path / name) for name in secrets}
        variables |= {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": str(database.port), "AWS_ENDPOINT_URL": store, "ARTIFACT_BUCKET": "mlflow"}
        server = MlflowServer(tmp_path, script=variables)
        server.start()
        try:
            client = MlflowClient(server.uri)
            run = client.create_run(client.create_experiment("signs")).info.run_id
            client.log_text(run, "hello", "note.txt")
            assert [artifact.path for artifact in client.list_artifacts(run)] == ["note.txt"]
        finally:
            server.kill()
        assert run in database.execute("SELECT run_uuid FROM runs", database="mlflow")
    kept = S3FileSystem(access_key=KEY, secret_key=SECRET, endpoint_override=store, region="us-east-1")
    names = [entry.path for entry in kept.get_file_info(FileSelector("mlflow", recursive=True))]
    assert any(name.endswith(f"{run}/artifacts/note.txt") for name in names), names
    assert kept.get_file_info("signray").type == FileType.Directory, "a bucket for runs and shards"


def timed_step(tracker: MlflowTracker, step: int, events: dict[int, Callable[[], None]]) -> float:
    """Seconds that a step spends on logging; before it, what is to happen at it."""
    if step in events:
        events[step]()
    time.sleep(STEP_S)
    began = time.perf_counter()
    tracker.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    return time.perf_counter() - began


def test_database_behind_optuna_restarted_in_mid_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep whose study lies in PostgreSQL, which crashes while a trial trains: every trial comes to its end and is in the database once."""
    import optuna

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    shards = write_tiny_shards(tmp_path / "shards")
    heard: list[str] = []
    with postgres() as database:
        storage = f"postgresql://signray@127.0.0.1:{database.port}/postgres"
        recipe = tiny_recipe(shards, f"run.root={tmp_path}", "run.name=swept", "train.epochs=6")
        sweep = small_sweep(recipe, searcher={"name": "optuna", "storage": storage, "startup_trials": 2}, budget={"trials": 4, "at_once": 1})
        recipe, folder = new_sweep(sweep, recipe, name="swept")

        def show(text: str) -> None:
            heard.append(text)
            if text.startswith("trial 001: epoch 1"):
                database.crash()
            if text.startswith("trial 002: epoch 1"):
                database.start()

        result = run_sweep(sweep, recipe, folder, show=show)
        study = optuna.load_study(storage=storage.replace("postgresql:", "postgresql+psycopg2:"), study_name="swept")
        trials = {trial.user_attrs[TRIAL_KEY]: trial for trial in study.get_trials()}
        assert len(study.get_trials()) == len(trials) == 4
    assert result.finished
    assert len(result.records) == 4
    assert any("study's database is away" in text for text in heard)
    assert any("study's database is back" in text for text in heard)
    for record in result.records:
        assert trials[record.trial.name].state.name == {"finished": "COMPLETE", "stopped early": "PRUNED"}[record.status]
        assert trials[record.trial.name].value == record.loss
        assert trials[record.trial.name].intermediate_values == record.losses
