"""The benchmark of sweeps runs; its figures at this size mean nothing."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_sweep import measure
from tests.benchmarks.stack import Bench


def test_figures(tmp_path: Path) -> None:
    memory, overhead = measure(Bench(folder=tmp_path, quick=True))
    assert overhead.median > 0
    assert "60 mock trials" in memory.note
    assert memory.median > 0.5
