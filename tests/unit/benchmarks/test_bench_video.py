"""The benchmark of videos runs; its figures are not tested."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import bench_streaming, bench_video
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    figures = bench_video.measure(Bench(folder=tmp_path, quick=True))
    assert [figure.name.split(",")[0] for figure in figures] == ["pictures", "pictures", "video 64 × 64", "video 64 × 64", "video 64 × 64"]
    assert "DataLoader" in figures[0].note
    assert bench_streaming.measure(Bench(folder=tmp_path, quick=True)) == []
