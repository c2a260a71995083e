"""The benchmark of the service runs; its figures are not tested."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_serve import measure
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    """Without Ray: what a replica's death and a swap cost is left out."""
    figures = {figure.name: figure for figure in measure(Bench(folder=tmp_path, quick=True))}
    assert len(figures) == 4
    assert figures["3× overload: answers other than 200 or 503"].met
