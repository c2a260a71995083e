"""A measurement in a process of its own, with the environment that a training's workers have: glibc's settings act only on processes that start with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cluster.environment import worker_environment
from tests.benchmarks.figure import Figure


def apart(module: str, *words: str, threads: int = 1) -> str:
    """What `python -m module words` prints."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, **worker_environment(threads=threads)}
    return subprocess.run([sys.executable, "-m", module, *words], cwd=root, env=environment, check=True, capture_output=True, text=True).stdout


def peak_memory() -> int:
    """Largest resident memory so far of this process in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def added_memory(step: Callable[[], object]) -> int:
    """Bytes that two steps add to the peak of this process."""
    before = peak_memory()
    step()
    step()
    return peak_memory() - before


def memory_figure(name: str, ours: int, naive: int, *, at_most: float | None = None) -> Figure:
    """Of what two steps added, in bytes."""
    return Figure(name=f"{name} memory: ours / naive", rounds=(ours / naive,), at_most=at_most, note=f"{ours / 2**20:,.0f} over {naive / 2**20:,.0f} MiB")
