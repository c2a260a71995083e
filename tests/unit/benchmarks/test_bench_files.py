"""The benchmark of very many shard files runs, and its shards are whole."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import bench_files
from tests.benchmarks.many_files import many_files
from tests.benchmarks.stack import Bench
from workloads.shards import ShardSet


def test_quick_run(tmp_path: Path) -> None:
    [figure] = bench_files.measure(Bench(folder=tmp_path, quick=True))
    assert figure.name == "files, first batch of 4 / of 2 shard files"
    assert figure.median > 0


def test_one_file_under_many_names(tmp_path: Path) -> None:
    shards = ShardSet.open(many_files(tmp_path / "shards", 5))
    assert len(shards.files("train")) == 5
    assert len(shards.index("train")) == shards.corpus.splits["train"].recordings == 40
