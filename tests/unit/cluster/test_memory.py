import os
import subprocess
import sys

from cluster.environment import REPOSITORY_ROOT
from cluster.memory import process_tree_pss

HOLD = "import sys; block = bytearray(b'x') * 60_000_000; print('ready', flush=True); sys.stdin.read()"


# In a process of its own: the tree of the test session holds a Ray cluster that comes and goes, and memory that a new block may re-use.
ALONE = f"""
import subprocess, sys, time
from cluster.memory import PeakMemory, process_tree_pss
before = process_tree_pss()
with PeakMemory(interval_s=0.01) as memory, subprocess.Popen([sys.executable, "-c", {HOLD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    held, own = process_tree_pss() - before, process_tree_pss(child.pid)
    deadline = time.monotonic() + 30
    while memory.peak_bytes < before + 55_000_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    child.communicate(b"")
print(held, own, memory.peak_bytes - before, process_tree_pss() - before)
"""


def test_children_count_shared_pages_count_once_and_the_peak_stays() -> None:
    output = subprocess.run([sys.executable, "-c", ALONE], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    held, own, peak, after = map(int, output.split())
    assert held > 55_000_000
    assert own < 120_000_000
    assert peak > 55_000_000
    assert after < 30_000_000


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
