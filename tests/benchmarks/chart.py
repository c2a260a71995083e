"""The figures that have a target as one picture: how far on the good side of it each lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

from tests.benchmarks.figure import Figure
from tests.benchmarks.report import number
from tests.benchmarks.results import Measured

MET, MISSED = "#2b7a78", "#c0392b"
LONGEST = 78  # characters of a name
LIMITS = (1 / 20, 1.6)  # of the axis; what is better or worse by more lies at its edge


def draw(path: Path, results: Mapping[str, Measured]) -> None:
    """A picture: a row for each figure with a target above 0, median and spread of what it is of its target, left of the line where it is met."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [(name, figure) for name, measured in results.items() for figure in measured.figures if _limit(figure)]
    canvas, axes = plt.subplots(figsize=(12, 0.8 + 0.26 * len(shown)), dpi=80)
    for row, (_, figure) in enumerate(shown):
        colour, middle = MET if figure.met else MISSED, _share(figure, figure.median)
        low, high = sorted(_share(figure, value) for value in figure.spread)
        axes.plot([low, high], [row, row], color=colour, alpha=0.4, linewidth=5, solid_capstyle="round")
        axes.plot([middle], [row], "o", color=colour, markersize=6)
        axes.text(LIMITS[1] * 1.03, row, f"{number(figure.median)} {figure.unit} ({figure.target})", va="center", fontsize=8, color=colour)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set(
        xscale="log",
        xlim=LIMITS,
        ylim=(len(shown) - 0.4, -0.6),
        xlabel="measured / target, or target / measured where more is better: left of the line it is met",
    )
    axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1.0, 1.6], ["≤ 0.05", "0.1", "0.2", "0.5", "1", "≥ 1.6"])
    axes.minorticks_off()
    axes.set_yticks(range(len(shown)), _names(shown), fontsize=8)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    canvas.savefig(path, bbox_inches="tight", pil_kwargs={"quality": 70})
    plt.close(canvas)


def _limit(figure: Figure) -> float:
    return figure.at_most or figure.at_least or 0.0


def _share(figure: Figure, value: float) -> float:
    share = value / _limit(figure) if figure.at_most is not None else _limit(figure) / max(value, 1e-9)
    return min(max(share, LIMITS[0]), LIMITS[1])


def _names(shown: Sequence[tuple[str, Figure]]) -> list[str]:
    return [shortened(f"{name}: {figure.name}") for name, figure in shown]


def shortened(text: str) -> str:
    """Without its middle, where names that are alike at the beginning are alike, too."""
    half = (LONGEST - 1) // 2
    return text if len(text) <= LONGEST else f"{text[:half]}…{text[-half:]}"
