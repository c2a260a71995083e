"""The figures as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence

from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import Machine

HEAD = """# Results of the benchmarks

Written by `{command}` on {date}, in {seconds:.0f} s. Every figure is a ratio or a share measured in one run, both sides in turns; the spread is
that of the middle half of the rounds (of all, where there are fewer than four). What each figure is: [README.md](README.md); what was tried: [LOG.md](LOG.md).
"""


def page(figures: Sequence[Figure], machine: Machine, *, command: str, date: str, seconds: float) -> str:
    """The page of RESULTS.md."""
    facts = [
        f"- machine: {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.0f} GB",
        f"- versions: {', '.join(f'{name} {number}' for name, number in machine.versions.items())}",
        f"- load average before the start: {machine.load:.2f}",
    ]
    if machine.loaded:
        facts.append("- **warning: the machine was busy with other work: these figures are provisional**")
    table = ["| figure | median | spread | rounds | target | of it |", "|---|---:|---:|---:|---|---|", *map(row, figures)]
    return "\n".join([HEAD.format(command=command, date=date, seconds=seconds), *facts, "", *table, ""])


def row(figure: Figure) -> str:
    """A figure as a row of the table."""
    low, high = (number(value) for value in figure.spread)
    target = figure.target and f"{figure.target}: {'met' if figure.met else '**missed**'}"
    spread = f"{low}–{high}" if len(figure.rounds) > 1 else ""
    return f"| {figure.name} | {number(figure.median)} {figure.unit} | {spread} | {len(figure.rounds)} | {target} | {figure.note} |"


def number(value: float) -> str:
    """Three or four digits."""
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
