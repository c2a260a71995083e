"""What of a service's figures is handed to Ray: what came since the last time, by name and label; where they arrive is the integration test's."""

from __future__ import annotations

import threading
import time

import pytest

from serve import ray_metrics
from serve.metrics import Metrics
from serve.ray_metrics import RayExport
from tests.unit.ray_recorder import Told, record_metrics


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    return record_metrics(monkeypatch, ray_metrics)


def test_what_came_since_the_last_time_is_told(told: list[Told]) -> None:
    metrics = Metrics()
    export = RayExport(metrics.registry)
    metrics.requests.labels("/v1/recognize", "POST", "200").inc(3)
    metrics.seconds.labels("/v1/recognize").observe(0.25)
    metrics.capacity.set(8)
    export.export()
    asked = {"path": "/v1/recognize", "method": "POST", "status": "200"}
    assert Told("inc", "signray_requests", 3, asked) in told
    assert Told("inc", "signray_request_seconds_sum", 0.25, {"path": "/v1/recognize"}) in told
    assert Told("inc", "signray_request_seconds_count", 1, {"path": "/v1/recognize"}) in told
    assert Told("set", "signray_capacity", 8, {}) in told
    assert not any("bucket" in call.name or "created" in call.name for call in told)
    told.clear()
    metrics.requests.labels("/v1/recognize", "POST", "200").inc()
    export.export()
    assert [call for call in told if call.how == "inc"] == [Told("inc", "signray_requests", 1, asked)]
    assert Told("set", "signray_capacity", 8, {}) in told


def test_one_failure_is_not_the_end(told: list[Told], monkeypatch: pytest.MonkeyPatch) -> None:
    export, failures = RayExport(Metrics().registry), [OSError("Ray is busy")]
    whole = export.export
    monkeypatch.setattr(export, "export", lambda: _raise(failures.pop()) if failures else whole())
    ending = threading.Event()
    thread = threading.Thread(target=export.follow, args=(ending, 0.01))
    thread.start()
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    ending.set()
    thread.join(10)
    assert told, "one failure isn't the end"
    assert not thread.is_alive()


def _raise(error: Exception) -> None:
    raise error
