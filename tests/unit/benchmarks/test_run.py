"""The benchmarks run: each in its quick form. Their figures are not tested, only what is made of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.benchmarks.bench_failures import recorded
from tests.benchmarks.chart import draw, shortened
from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import Machine
from tests.benchmarks.report import CHART, page
from tests.benchmarks.results import Measured, read_results, write_results
from tests.benchmarks.run import HERE, RECORDS
from tests.integration.cluster.record import Record

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


def measured(*figures: Figure, machine: Machine = MACHINE) -> Measured:
    return Measured(date="2026-01-02", seconds=61.2, machine=machine, figures=figures)


def test_page() -> None:
    figures = [Figure(name="a / b", rounds=(1.25,), note="5 ms over 4 ms", at_most=1.1), Figure(name="c", rounds=(3.0, 4.0), note="", unit="%")]
    text = page({"first": measured(*figures)})
    assert "## first\n\n2026-01-02, in 61 s; a core, 2 cores, 8 GB; torch 2.13.0; load average before the start 0.10.\n" in text
    assert "| a / b | 1.250 × |  | 1 | ≤ 1.10: **missed** | 5 ms over 4 ms |" in text
    assert "| c | 3.500 % | 3.000–4.000 | 2 |  |  |" in text
    assert "provisional" not in text


def test_page_of_a_busy_machine() -> None:
    busy = Machine(cpu="a core", cores=2, memory_gb=8.0, load=3.0, versions={})
    assert "provisional" in page({"first": measured(machine=busy)})
    text = page({"first": measured(machine=replace(busy, busy_cores=0.125))})  # the load was that of the benchmark before
    assert "busy cores before the start 0.12." in text
    assert "provisional" not in text


def test_figures_with_a_target_are_drawn(tmp_path: Path) -> None:
    """Extremes, too: nothing measured, far beyond the target, a target of nothing."""
    at_most = [Figure(name=f"figure {value}", rounds=(value, 2 * value), note="", at_most=2.0) for value in (0.0, 1.0, 900.0)]
    at_least = [Figure(name="a name that is too long for its place " * 4, rounds=(value,), note="", at_least=3.0) for value in (0.0, 5000.0)]
    draw(tmp_path / "chart.webp", {"first": measured(*at_most, *at_least, Figure(name="none", rounds=(0.0,), note="", at_most=0.0))})
    picture = cv2.imread(str(tmp_path / "chart.webp"))
    assert picture.shape[1] > picture.shape[0] > 100
    draw(tmp_path / "empty.webp", {})
    assert (HERE / CHART).is_file()
    alike = [f"decoding: prefix search, peaky posteriors of 1,296 glosses, flashlight-text / ours, {end}" for end in ("one thread, CPU time", "two threads")]
    assert len({shortened(name) for name in alike}) == 2


def test_one_benchmark_anew_leaves_the_others(tmp_path: Path) -> None:
    first, second = measured(Figure(name="a", rounds=(1.0, 2.0), note="n", at_least=1.5)), measured(Figure(name="b", rounds=(3.0,), note=""))
    write_results(tmp_path / "results.json", {"first": first, "second": second})
    kept = read_results(tmp_path / "results.json")
    assert kept == {"first": first, "second": second}
    assert read_results(tmp_path / "none.json") == {}


def test_what_the_clusters_tests_took_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(tmp_path / "figures.json", lambda: "a core, load 0.1")
    record("not asked for", 1.0, "s")
    assert recorded(record.path) == []
    monkeypatch.setenv("SIGNRAY_RECORD", "1")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    monkeypatch.setattr("tests.integration.cluster.record.num_cores", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 0.0, 0.0))
    record("cable pulled", 89.0, "s", at_most=60)
    record("cable pulled", 300.0, "ms", at_most=100)
    assert record.missed == [], "other tests run beside it"
    record("cable pulled", 91.0, "s", at_most=60)
    assert record.missed.pop() == "cable pulled: 91.0 s, and 90 are allowed"
    monkeypatch.delenv("PYTEST_XDIST_WORKER")
    record("power cut", 31.2, "s", at_most=45, note="2 steps taken again")
    record("cable pulled", 62.0, "s", at_most=60)
    assert record.missed == ["cable pulled: 62.0 s, and 60 are allowed"]
    cable, power = recorded(record.path)
    assert (cable.met, power.met, power.unit) == (False, True, "s")
    assert power.note.startswith("2 steps taken again; 20")
    assert power.note.endswith("a core, load 0.1")


def test_results_are_those_of_the_page() -> None:
    """RESULTS.md is written from the records; a row edited by hand is found."""
    assert (HERE / "RESULTS.md").read_text(encoding="utf-8") == page(read_results(HERE / RECORDS))
