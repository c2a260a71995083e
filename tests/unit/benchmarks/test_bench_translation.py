"""The benchmark of generation runs; its figures are not tested."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.bench_translation import measure
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    one, three = measure(Bench(folder=tmp_path, quick=True))
    assert len(one.rounds) == len(three.rounds) == 2
