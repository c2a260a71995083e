"""What Prometheus reads of a run."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest

from cluster.metrics import RunMetrics
from cluster.ray_cluster import connect
from tests.integration.head_node import HeadNode


def test_a_runs_numbers_are_exported_by_the_node(ray_cluster: HeadNode) -> None:
    """Takes up to a quarter of a minute: Ray's processes hand their metrics to the node's agent every ten seconds."""
    import ray

    with connect():
        (node,) = [node for node in ray.nodes() if node["Alive"]]
        metrics, text = RunMetrics("exported"), ""
        url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        deadline = time.monotonic() + 120
        while "signray_loss{" not in text:
            if time.monotonic() > deadline:
                pytest.fail(f"not exported: {sorted(set(re.findall('ray_signray[a-z_]*', text)))}")
            metrics({"kind": "step", "step": 7, "epoch": 1, "terms": {"loss": 2.5}, "seconds": 0.5, "frames_per_s": 80.0, "lr": 1e-3})
            metrics({"kind": "checkpoint", "step": 7})
            time.sleep(1)
            with suppress(urllib.error.URLError, TimeoutError):
                text = urllib.request.urlopen(url, timeout=10).read().decode()
        line = next(line for line in text.splitlines() if line.startswith("ray_signray_loss{"))
        assert 'run="exported"' in line
        assert float(line.split()[-1]) == 2.5
        assert "ray_signray_checkpoints_total{" in text
