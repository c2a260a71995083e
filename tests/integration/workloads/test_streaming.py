"""Clips of pictures stream through an object store that a pass over them doesn't fit into."""

from __future__ import annotations

from pathlib import Path

from cluster.ray_cluster import connect
from tests.benchmarks.bench_streaming import bytes_streamed, corpus, spilled_bytes
from tests.integration.head_node import HeadNode

STORE = 200_000_000  # of the session's cluster


def test_three_times_the_object_store_streams_through_it(ray_cluster: HeadNode, tmp_path: Path) -> None:
    """What was asked for is twenty times: `python tests/benchmarks/run.py --only streaming`, which takes a cluster of its own and minutes."""
    files = corpus(tmp_path / "shards", 2, 40_000_000, 3 * STORE)
    with connect(driver_logs=False):
        before = spilled_bytes()
        read = bytes_streamed(files)
        assert read >= 3 * STORE
        assert spilled_bytes() - before <= read / 10
