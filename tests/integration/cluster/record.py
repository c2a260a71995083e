"""Figures of the tests that break a cluster: `SIGNRAY_RECORD=1 make test-cluster` writes them down, and they become rows of RESULTS.md."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import num_cores

FIGURES = REPOSITORY_ROOT / "tests" / "benchmarks" / "cluster_figures.json"


@dataclass(frozen=True)
class Record:
    """Takes figures down, and remembers those beyond their limit: a long test goes on to its end, and fails there.

    Beside other tests (`make test`) seconds may be as many times more as the machine has more to do than cores; milliseconds say nothing there.
    """

    path: Path
    machine: Callable[[], str]
    missed: list[str] = field(default_factory=list)

    def __call__(self, name: str, value: float, unit: str, *, at_most: float | None = None, note: str = "") -> None:
        if os.environ.get("SIGNRAY_RECORD"):
            known = json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
            entry = {"value": round(value, 2), "unit": unit, "at_most": at_most, "note": note, "date": time.strftime("%Y-%m-%d"), "machine": self.machine()}
            known[name] = entry
            self.path.write_text(json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{name}: {value:.1f} {unit}", flush=True)
        if at_most is not None and value > (allowed := at_most * stretch(unit)):
            self.missed.append(f"{name}: {value:.1f} {unit}, and {allowed:g} are allowed")


def stretch(unit: str) -> float:
    """How many times its limit a figure may be here."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return 1.0
    return math.inf if unit == "ms" else max(1.0, os.getloadavg()[0] / num_cores())
