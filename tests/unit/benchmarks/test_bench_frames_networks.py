"""The benchmark of S3D and TwoStream-SLR runs, and its two sides agree."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_frames_networks import measure
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    figures = measure(Bench(folder=tmp_path, quick=True))
    assert [figure.name.split(",")[0] for figure in figures] == ["S3D", "S3D", "TwoStream-SLR"]
    assert all("ours / naive" in figure.name and len(figure.rounds) == 2 for figure in figures)
