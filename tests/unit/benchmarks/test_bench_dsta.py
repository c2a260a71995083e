"""DSTA-SLR's benchmark runs, and its two sides agree."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_dsta import measure
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    [figure] = measure(Bench(folder=tmp_path, quick=True))
    assert "ours / naive" in figure.name
    assert len(figure.rounds) == 2
