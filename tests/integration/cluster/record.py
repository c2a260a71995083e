"""Figures of the tests that break a cluster: `SIGNRAY_RECORD=1 make test-cluster` writes them down, and they become rows of RESULTS.md."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster.environment import REPOSITORY_ROOT

FIGURES = REPOSITORY_ROOT / "tests" / "benchmarks" / "cluster_figures.json"


@dataclass(frozen=True)
class Record:
    """Takes figures down, and remembers those beyond their limit: a long test goes on to its end, and fails there.

    Beside other tests (`make test`) a figure says little: there limits are not kept.
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
        if at_most is not None and value > at_most and "PYTEST_XDIST_WORKER" not in os.environ:
            self.missed.append(f"{name}: {value:.1f} {unit}, and {at_most:g} are allowed")
