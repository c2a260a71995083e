"""A run's metrics, and the dashboard that shows them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import ray.util.metrics
from prometheus_client import CollectorRegistry

from cluster.environment import REPOSITORY_ROOT
from cluster.metrics import COUNTERS, GAUGES, RunMetrics
from serve.metrics import Metrics
from tests.unit.ray_recorder import Told, record_metrics, values_of

STEP = {"kind": "step", "step": 7, "epoch": 1, "terms": {"loss": 2.5}, "seconds": 0.5, "data_wait_s": 0.1, "frames_per_s": 80.0, "lr": 1e-3}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    return record_metrics(monkeypatch, ray.util.metrics)


def test_events_become_metrics(told: list[Told]) -> None:
    metrics = RunMetrics("toy")
    events: list[dict[str, Any]] = [
        STEP,
        {"kind": "validation", "step": 7, "epoch": 1, "metric": "wer", "scores": {"body": 40.0}, "seconds": 3.0},
        {"kind": "checkpoint", "step": 7, "name": "checkpoint_00000007", "error": 40.0},
        {"kind": "message", "text": "resumed from checkpoint_00000007: step 7, epoch 2"},
        {"kind": "resumed", "step": 7, "workers": 2, "steps_lost": 0, "seconds_lost": 1.5},
        {"kind": "resumed", "step": 7, "workers": 2, "steps_lost": 3, "seconds_lost": 20.5},
        {"kind": "message", "text": "worker 1 failed (it died): see failures.log in the run's folder"},
        {"kind": "message", "text": "asked to stop: step 7 is the last"},
    ]
    for event in events:
        metrics(event)
    assert values_of(told) == {
        ("signray_step", "toy"): 7,
        ("signray_epoch", "toy"): 2,
        ("signray_loss", "toy"): 2.5,
        ("signray_learning_rate", "toy"): 1e-3,
        ("signray_step_seconds", "toy"): 0.5,
        ("signray_data_wait_seconds", "toy"): 0.1,
        ("signray_frames_per_second", "toy"): 80.0,
        ("signray_dev_score", "toy", "body", "wer"): 40.0,
        ("signray_validation_seconds", "toy"): 3.0,
        ("signray_checkpoints", "toy"): 1,
        ("signray_resumed", "toy"): 1,
        ("signray_worker_failures", "toy"): 1,
        ("signray_steps_lost", "toy"): 3,
    }


def exported(registry: CollectorRegistry) -> set[str]:
    """Names of a service's figures as the nodes tell them."""
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_count_total", "_sum_total")}
    return {family.name + ending for family in registry.collect() for ending in endings[family.type]}


def test_the_dashboard_shows_every_metric_and_none_that_does_not_exist() -> None:
    dashboard = json.loads((REPOSITORY_ROOT / "cluster" / "grafana" / "signray.json").read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = set(re.findall(r"ray_(signray_\w+)", " ".join(expressions)))
    assert shown == set(GAUGES) | {f"{name}_total" for name in COUNTERS} | exported(Metrics().registry)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
    assert [panel["id"] for panel in dashboard["panels"]] == list(range(1, len(places) + 1))
    names = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard))) <= names | {"__rate_interval"}
