"""PostgreSQL behind MLflow's server, and either of them away: logging waits for neither, and in the end every point is there once. A minute or two."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.sender import connect_client
from cluster.tracking import MlflowTracker
from tests.integration.cluster.lab import wait_until
from tests.integration.cluster.programs import postgres
from tests.integration.cluster.record import Record
from tests.integration.mlflow_server import MlflowServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

STEPS, STEP_S = 400, 0.05


def test_database_and_server_away(tmp_path: Path, record: Record) -> None:
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
    counts = Counter(point.step for point in points)
    assert sorted(counts) == list(range(STEPS)), "a point is missing"
    assert set(counts.values()) == {1}, "a point is there twice"
    assert any("is away" in text for text in messages)


def timed_step(tracker: MlflowTracker, step: int, events: dict[int, Callable[[], None]]) -> float:
    """Seconds that a step spends on logging; before it, what is to happen at it."""
    if step in events:
        events[step]()
    time.sleep(STEP_S)
    began = time.perf_counter()
    tracker.log_metrics({"loss": 1.0 / (step + 1)}, step=step)
    return time.perf_counter() - began
