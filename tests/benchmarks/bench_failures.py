"""What `make test-cluster` has taken down: seconds from a lost worker, host, head, database or batch job to the next step.

Read from cluster_figures.json, which `SIGNRAY_RECORD=1 make test-cluster` writes: these figures need hosts of their own and three quarters of an hour.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from tests.integration.cluster.record import FIGURES


def measure(bench: Bench) -> list[Figure]:
    """The figures as they were taken down last."""
    return recorded(FIGURES)


def recorded(path: Path) -> list[Figure]:
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return [
        Figure(
            name=name,
            rounds=(entry["value"],),
            unit=entry["unit"],
            at_most=entry["at_most"],
            note="; ".join(filter(None, (entry["note"], f"{entry['date']}, {entry['machine']}"))),
        )
        for name, entry in known.items()
    ]
