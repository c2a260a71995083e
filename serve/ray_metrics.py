"""The front's figures for whoever scrapes the cluster: the same as at `/metrics`, through Ray's own exporter of each node.

Prometheus knows the nodes already; the service's address, and a key for it, it would have to be given. Names as it sees them begin with `ray_`; of a histogram
there are `_count_total` and `_sum_total`, which give rates and means.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from ray.util.metrics import Counter, Gauge

logger = logging.getLogger("ray.serve")
EXPORT_S = 5.0  # Ray's processes hand their figures on every ten seconds
KEPT = {"counter": ("_total",), "histogram": ("_count", "_sum"), "gauge": ("",)}


class RayExport:
    """Copies a registry into Ray's metrics; the process must be a worker or a driver of Ray."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._metrics: dict[str, Any] = {}
        self._told: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def follow(self, ending: threading.Event, seconds: float = EXPORT_S) -> None:
        """Copy every so many seconds, until the end is told."""
        while not ending.wait(seconds):
            try:
                self.export()
            except Exception as error:  # whatever: figures that fail once must not be missing from then on
                logger.warning("the figures didn't get to Ray this time: %s", error)

    def export(self) -> None:
        """Gauges as they are, of counters and histograms what came since the last time."""
        for family in self._registry.collect():
            for sample in family.samples:
                if any(sample.name == family.name + ending for ending in KEPT.get(family.type, ())):
                    self._tell(family.type, sample.name, family.documentation, sample.labels, sample.value)

    def _tell(self, kind: str, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        name = name.removesuffix("_total")  # which Ray adds to counters
        if name not in self._metrics:
            self._metrics[name] = (Gauge if kind == "gauge" else Counter)(name, text, tag_keys=tuple(labels))
        if kind == "gauge":
            self._metrics[name].set(value, tags=dict(labels))
            return
        key = (name, tuple(sorted(labels.items())))
        more = value - self._told.get(key, 0.0)
        if more > 0:  # a counter of Ray doesn't take 0
            self._metrics[name].inc(more, tags=dict(labels))
            self._told[key] = value
