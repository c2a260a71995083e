"""The benchmark of fusion runs; its figure is not tested."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_fusion import measure
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    (figure,) = measure(Bench(folder=tmp_path, quick=True))
    assert len(figure.rounds) == 2
    assert "4 heads on 2 clips" in figure.note
