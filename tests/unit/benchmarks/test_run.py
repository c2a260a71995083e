"""The benchmarks run: each in its quick form. Their figures are not tested, only what is made of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import Machine
from tests.benchmarks.report import page

MACHINE = Machine(cpu="a core", cores=2, memory_gb=8.0, load=0.1, versions={"torch": "2.13.0"})


def test_quick_runs() -> None:
    """In a process of its own, because DeepSpeed's process group can't be made twice in one; its imports take the seconds."""
    command = [sys.executable, "tests/benchmarks/run.py", "--quick", "--only", "stack", "--only", "data", "--only", "memory"]
    done = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("whole stack / bare loop, wall clock", "streamed by Ray Data / read in process", "largest / smallest peak"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("rounds", "median", "spread"), [((3.0,), 3.0, (3.0, 3.0)), ((1.0, 3.0, 2.0), 2.0, (1.0, 3.0)), ((1.0, 2.0, 3.0, 4.0, 90.0), 3.0, (2.0, 4.0))]
)
def test_figure(rounds: tuple[float, ...], median: float, spread: tuple[float, float]) -> None:
    figure = Figure(name="a / b", rounds=rounds, note="", at_most=2.5)
    assert (figure.median, figure.spread) == (median, spread)
    assert (figure.met, figure.target) == (median <= 2.5, "≤ 2.50")
    faster = Figure(name="a / b", rounds=rounds, note="5 ms", at_least=2.5)
    assert (faster.met, faster.target, faster.noted("fast").note) == (median >= 2.5, "≥ 2.50", "5 ms; fast")


def test_page() -> None:
    figures = [Figure(name="a / b", rounds=(1.25,), note="5 ms over 4 ms", at_most=1.1), Figure(name="c", rounds=(3.0, 4.0), note="", unit="%")]
    text = page(figures, MACHINE, command="make bench", date="2026-01-02", seconds=61.2)
    assert "| a / b | 1.250 × |  | 1 | ≤ 1.10: **missed** | 5 ms over 4 ms |" in text
    assert "| c | 3.500 % | 3.000–4.000 | 2 |  |  |" in text
    assert "warning" not in text


def test_page_of_a_busy_machine() -> None:
    busy = Machine(cpu="a core", cores=2, memory_gb=8.0, load=3.0, versions={})
    assert "provisional" in page([], busy, command="make bench", date="2026-01-02", seconds=1.0)
