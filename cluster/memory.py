"""Memory of a process tree, shared pages counted once (proportional set size, PSS)."""

import os
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

_CGROUP = Path("/sys/fs/cgroup")


def process_tree_pss(pid: int | None = None, *, also: str | None = None) -> int:
    """Bytes of PSS of a process (default: this one) and all its descendants.

    A private Ray cluster is in it: the driver starts the raylet, which starts the workers. Processes that were orphaned meanwhile
    (their parent ended first) are not descendants any more: `also` names an environment variable assignment, such as
    "RAY_ADDRESS=10.0.0.1:6379", by which they are found. Linux only; processes of other users count as nothing.
    """
    try:
        root = psutil.Process(pid or os.getpid())
        tree = {root.pid, *(child.pid for child in root.children(recursive=True))}
    except psutil.NoSuchProcess:
        return 0
    if also is not None:
        tree |= _processes_with(also)
    return sum(_pss(member) for member in tree)


class PeakMemory:
    """Samples the PSS of this process tree from a thread while the block lasts; `peak_bytes` is the largest sum.

    A sample takes some 5-20 ms of one core per process (the kernel walks its mappings), so the interval grows where samples are
    slow: sampling never takes more than 2 % of a core.
    """

    def __init__(self, interval_s: float = 1.0, *, also: str | None = None) -> None:
        self.peak_bytes = 0
        self._interval_s = interval_s
        self._also = also
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="peak-memory", daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.peak_bytes = process_tree_pss(also=self._also)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _sample_until_stopped(self) -> None:
        pause = self._interval_s
        while not self._stop.wait(pause):
            pause = max(self._interval_s, 50 * self._sample())

    def _sample(self) -> float:
        """Take a sample; returns the seconds of CPU that it took."""
        before = time.thread_time()
        self.peak_bytes = max(self.peak_bytes, process_tree_pss(also=self._also))
        return time.thread_time() - before


def _pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # ended meanwhile, or of another user
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)


def _processes_with(assignment: str) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if assignment.encode() in variables:
                found.add(int(entry.name))
    return found


def available_bytes() -> int:
    """Memory that processes on this host may still take: what the kernel calls available, or less in a container with a limit."""
    free = int(psutil.virtual_memory().available)
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        try:
            free = min(free, int((_CGROUP / limit).read_text()) - int((_CGROUP / used).read_text()))
        except (OSError, ValueError):  # another version of cgroups, or "max": no limit
            continue
    return max(0, free)
