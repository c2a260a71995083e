"""What of a service's figures is handed to Ray: what came since the last time, by name and label; where they arrive is the integration test's."""

from __future__ import annotations

import time

import pytest

from serve import ray_metrics
from serve.metrics import Metrics
from serve.ray_metrics import RayExport


class Recorder:
    """Stands for Ray's metrics, of which the values can't be read back in the process that sets them."""

    told: list[tuple[str, str, float, dict[str, str]]]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        self._keep("set", value, tags)

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        self._keep("inc", value, tags)

    def _keep(self, how: str, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.told.append((how, self.name, value, tags))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, float, dict[str, str]]]:
    Recorder.told = []
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(ray_metrics, kind, Recorder)
    return Recorder.told


def test_what_came_since_the_last_time_is_told(told: list[tuple[str, str, float, dict[str, str]]]) -> None:
    metrics = Metrics()
    export = RayExport(metrics.registry)
    metrics.requests.labels("/v1/recognize", "POST", "200").inc(3)
    metrics.seconds.labels("/v1/recognize").observe(0.25)
    metrics.capacity.set(8)
    export.export()
    asked = {"path": "/v1/recognize", "method": "POST", "status": "200"}
    assert ("inc", "signray_requests", 3, asked) in told
    assert ("inc", "signray_request_seconds_sum", 0.25, {"path": "/v1/recognize"}) in told
    assert ("inc", "signray_request_seconds_count", 1, {"path": "/v1/recognize"}) in told
    assert ("set", "signray_capacity", 8, {}) in told
    assert not any("bucket" in name or "created" in name for _, name, _, _ in told)
    told.clear()
    metrics.requests.labels("/v1/recognize", "POST", "200").inc()
    export.export()
    assert [entry for entry in told if entry[0] == "inc"] == [("inc", "signray_requests", 1, asked)]
    assert ("set", "signray_capacity", 8, {}) in told


def test_a_front_tells_by_itself_until_it_is_ended(told: list[tuple[str, str, float, dict[str, str]]], monkeypatch: pytest.MonkeyPatch) -> None:
    export, failures = RayExport(Metrics().registry), [OSError("Ray is busy")]
    whole = export.export
    monkeypatch.setattr(export, "export", lambda: _raise(failures.pop()) if failures else whole())
    end = export.start(seconds=0.01)
    deadline = time.monotonic() + 10
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    end()
    assert told, "one failure isn't the end"
    told.clear()
    time.sleep(0.05)
    assert told == []


def _raise(error: Exception) -> None:
    raise error
