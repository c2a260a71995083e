"""A thousand shard files: the first batch comes soon, and nobody opens a thread per file."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from cluster.environment import quiet_logging, quiet_ray_data
from cluster.ray_cluster import connect
from tests.benchmarks.many_files import first_batch, many_files
from tests.integration.head_node import HeadNode
from workloads.training.session import READ_ROWS

SOON_S = 5.0


@pytest.mark.slow
def test_the_first_batch_of_a_thousand_files(head_node: HeadNode, tmp_path: Path) -> None:
    """Some seconds, which Ray Data's first tasks take; the newer reader of Ray's takes half a minute and 900 threads for it."""
    folder = many_files(tmp_path / "shards", 1000)
    with connect(address=head_node.address, driver_logs=False):
        quiet_logging()
        quiet_ray_data()
        first_batch(many_files(tmp_path / "few", 2), psutil.Process(head_node.pid))  # starts the workers
        tries = [first_batch(folder, psutil.Process(head_node.pid))]
        if tries[0].seconds > SOON_S:  # what ran beside it may have ended meanwhile
            tries.append(first_batch(folder, psutil.Process(head_node.pid)))
    assert {each.rows for each in tries} == {READ_ROWS}
    assert max(each.threads for each in tries) <= 100
    found = min(tries, key=lambda each: each.seconds)
    assert found.seconds <= SOON_S * max(1.0, busy()), found


def busy() -> float:
    """How much longer than alone this machine takes now for a piece of arithmetic: other tests may run beside this one."""
    began, cpu = time.perf_counter(), time.process_time()
    sum(range(3_000_000))
    return (time.perf_counter() - began) / max(1e-6, time.process_time() - cpu)
