"""Attention over time as a slide: the words of a translation against the clip's time, above the glosses that were recognised in it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from models.explanation import Explanation
from models.translation.attention import TextAttention
from workloads.explaining.timeline import INK, SOFT, clock, draw_timeline, source_line

SIZE = (16.0, 9.0)  # inches
DPI = 100
LEFT, WIDTH, ASIDE = 0.13, 0.77, 0.02  # of the figure's width: the map, and the column of what lies beside the clip's steps
TITLE_WIDTH = 88  # characters of a line
HEAT = LinearSegmentedColormap.from_list("attention", ["#ffffff", "#dbe9f6", "#6aaed6", "#1f6bb0", "#08306b"])
LARGEST_FONT, SMALLEST_FONT = 15.0, 6.0


def draw_attention(attention: TextAttention, explanation: Explanation, path: Path, *, about: str) -> None:
    """Write the PNG. explanation: of the same clip, for its glosses and steps; about: one line that says which network and data."""
    figure = plt.figure(figsize=SIZE, facecolor="white")
    _head(figure, attention, explanation, about)
    map_axes = figure.add_axes((LEFT, 0.42, WIDTH, 0.41))
    aside_axes = figure.add_axes((LEFT + WIDTH + 0.01, 0.42, ASIDE, 0.41))
    shown = _map(map_axes, attention, explanation)
    _aside(aside_axes, attention, shown)
    bar = figure.colorbar(shown, cax=figure.add_axes((LEFT + WIDTH + 0.045, 0.42, 0.008, 0.41)))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=9, colors=SOFT, length=0)
    bar.ax.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=0))
    draw_timeline(figure.add_axes((LEFT, 0.2, WIDTH, 0.17)), explanation)
    _texts(figure, attention)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _head(figure: Figure, attention: TextAttention, explanation: Explanation, about: str) -> None:
    title = textwrap.shorten(attention.text or "(nothing)", 2 * TITLE_WIDTH, placeholder=" …")
    figure.text(0.04, 0.945, textwrap.fill(title, TITLE_WIDTH), fontsize=20, fontweight="bold", color=INK, va="center")
    figure.text(0.04, 0.885, about, fontsize=12, color=SOFT, va="center")
    figure.text(0.96, 0.885, source_line(explanation), fontsize=12, color=SOFT, va="center", ha="right")
    figure.text(LEFT, 0.845, "where each word looked: share of its attention, mean over layers and heads", fontsize=11, color=SOFT, va="center")


def _map(axes: Axes, attention: TextAttention, explanation: Explanation) -> mpl.collections.QuadMesh:
    """Words down, time across, on the time axis of the glosses below."""
    per_unit, _ = clock(explanation)
    edges = _edges(explanation.step_frames / per_unit)
    rows = np.arange(len(attention.words) + 1)
    shown = axes.pcolormesh(edges, rows, attention.weights_WS, cmap=HEAT, vmin=0.0, vmax=float(attention.weights_WS.max()) or 1.0)
    axes.set_xlim(0, explanation.clip.num_frames / per_unit)
    axes.set_ylim(len(attention.words), 0)
    axes.set_yticks(rows[:-1] + 0.5, attention.words, fontsize=_font(len(attention.words)), color=INK)
    axes.tick_params(axis="both", length=0, labelbottom=False)
    for row in rows[1:-1]:
        axes.axhline(row, color="white", linewidth=1.0)
    for spine in axes.spines.values():
        spine.set(color="#c9ced6", linewidth=0.8)
    return shown


def _aside(axes: Axes, attention: TextAttention, shown: mpl.collections.QuadMesh) -> None:
    """What was given to the marks behind the clip's steps, in figures: it is no time."""
    axes.set_xlim(0, 1)
    axes.set_ylim(len(attention.words), 0)
    axes.set_axis_off()
    axes.set_title("beside\nthe clip", fontsize=8, color=SOFT)
    for row, share in enumerate(attention.aside_W.tolist()):
        axes.text(0.5, row + 0.5, f"{share:.0%}", fontsize=min(10.0, _font(len(attention.words))), color=SOFT, ha="center", va="center")


def _texts(figure: Figure, attention: TextAttention) -> None:
    """The reference where it is known, and the likeliest texts with their scores: log-probability of a token."""
    lines = [("reference", attention.clip.text)] if attention.clip.text else []
    lines += [(f"{place}.", f"{answer.text or '(nothing)'}   ({answer.score:.2f})") for place, answer in enumerate(attention.answers, start=1)]
    for place, (label, text) in enumerate(lines):
        y = 0.108 - 0.026 * place
        figure.text(LEFT - 0.01, y, label, fontsize=11, color=SOFT, ha="right", va="center")
        figure.text(LEFT, y, textwrap.shorten(text, 150, placeholder=" …"), fontsize=12, color=INK, va="center")
    figure.text(0.96, 0.108, "likeliest texts, with the log-probability of a token", fontsize=10, color=SOFT, ha="right", va="center")


def _edges(middles: np.ndarray) -> np.ndarray:
    """Borders (S + 1,) of steps whose middles are given."""
    if len(middles) == 1:
        return np.array([middles[0] - 0.5, middles[0] + 0.5])
    inner = (middles[1:] + middles[:-1]) / 2
    return np.concatenate([[middles[0] - (inner[0] - middles[0])], inner, [middles[-1] + (middles[-1] - inner[-1])]])


def _font(rows: int) -> float:
    return max(SMALLEST_FONT, min(LARGEST_FONT, 240.0 / max(rows, 1)))
