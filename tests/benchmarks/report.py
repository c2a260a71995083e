"""The figures as a Markdown page."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tests.benchmarks.figure import Figure
from tests.benchmarks.results import Measured

CHART = "results.webp"
HEAD = """# Results of the benchmarks

Written by `python tests/benchmarks/run.py`: whole (`make bench`), or a benchmark at a time (`--only NAME`), which leaves the others' sections as they were.
Ratios and shares are measured in one run, both sides in turns; the spread is that of the middle half of the rounds (of all, where there are fewer than four).
Seconds, counts and memory, of the demo, the service and failures, are of this machine alone.
What each figure is: [README.md](README.md); what was tried: [LOG.md](LOG.md).

![Each figure that has a target above 0, as a share of it](results.webp)
"""
BUSY = "**the machine was busy with other work: provisional**"


def page(results: Mapping[str, Measured]) -> str:
    """The page of RESULTS.md: a section a benchmark."""
    return "\n".join([HEAD, *(section(name, measured) for name, measured in results.items())])


def section(name: str, measured: Measured) -> str:
    """A benchmark's machine and table."""
    machine = measured.machine
    facts = [
        f"{measured.date}, in {measured.seconds:.0f} s",
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB",
        ", ".join(f"{package} {number}" for package, number in machine.versions.items()),
        f"load average before the start {machine.load:.2f}" if machine.busy_cores is None else f"busy cores before the start {machine.busy_cores:.2f}",
        *([BUSY] if machine.loaded else []),
    ]
    table = ["| figure | median | spread | rounds | target | of it |", "|---|---:|---:|---:|---|---|", *map(row, measured.figures)]
    return "\n".join([f"## {name}", "", "; ".join(facts) + ".", "", *table, ""])


def row(figure: Figure) -> str:
    """A figure as a row of the table."""
    low, high = (number(value) for value in figure.spread)
    target = figure.target and f"{figure.target}: {'met' if figure.met else '**missed**'}"
    spread = f"{low}–{high}" if len(figure.rounds) > 1 else ""
    return f"| {figure.name} | {number(figure.median)} {figure.unit} | {spread} | {len(figure.rounds)} | {target} | {figure.note} |"


def number(value: float) -> str:
    """Three or four digits."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def told(figure: Figure) -> Figure:
    """The figure, which is told at once: benchmarks that take minutes give theirs at their end."""
    print(f"  {figure.name}: {number(figure.median)} {figure.unit} ({figure.note})", file=sys.stderr, flush=True)
    return figure
