import os
import subprocess
import sys
import time

from cluster.memory import PeakMemory, process_tree_pss

HOLD = "import sys; block = bytearray(b'x') * 60_000_000; print('ready', flush=True); sys.stdin.read()"


def test_children_count_and_shared_pages_count_once() -> None:
    before = process_tree_pss()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert process_tree_pss() - before > 55_000_000
        assert process_tree_pss(child.pid) < 120_000_000
        child.communicate(b"")


def test_orphans_are_found_by_their_environment() -> None:
    mark = f"SIGNRAY_TEST_MARK={os.getpid()}"
    name, value = mark.split("=")
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, name: value}) as child:
        assert child.stdout is not None
        child.stdout.readline()
        unrelated = 1 << 30  # no such process: the tree is empty
        assert process_tree_pss(unrelated, also=mark) == 0
        assert process_tree_pss(1, also=mark) >= 55_000_000
        child.communicate(b"")


def test_the_peak_stays_after_the_memory_is_freed() -> None:
    with PeakMemory(interval_s=0.01) as memory:
        start = memory.peak_bytes
        block = bytearray(b"x") * 80_000_000
        deadline = time.monotonic() + 10
        while memory.peak_bytes < start + 75_000_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        del block
    assert memory.peak_bytes - start > 75_000_000
