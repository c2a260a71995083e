"""An explanation as one picture: a contact sheet of what counted for each gloss above the timeline."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from models.explanation import ExplainedSign, Explanation
from workloads.explaining.overlay import Painter
from workloads.explaining.timeline import INK, SOFT, clock, draw_timeline, sign_colours, source_line

SIZE = (16.0, 9.0)  # inches
DPI = 100
COLUMNS = 7  # cells in a row at most
MOST_CELLS = 14


def draw_slide(explanation: Explanation, path: Path, *, about: str) -> None:
    """Write the PNG. about: one line below the title that says which network and data."""
    figure = plt.figure(figsize=SIZE, facecolor="white")
    cells = contact_cells(explanation)
    rows = math.ceil(len(cells) / COLUMNS)
    figure.text(0.04, 0.955, _title(explanation), fontsize=21, fontweight="bold", color=INK, va="center", wrap=True)
    figure.text(0.04, 0.91, about, fontsize=12, color=SOFT, va="center")
    figure.text(0.96, 0.91, source_line(explanation), fontsize=12, color=SOFT, va="center", ha="right")
    _sheet(figure, explanation, cells, rows)
    draw_timeline(figure.add_axes((0.08 if not explanation.isolated else 0.16, 0.085, 0.88 if not explanation.isolated else 0.8, 0.25)), explanation)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def contact_cells(explanation: Explanation) -> list[tuple[int, int]]:
    """Sign and frame of each cell: a row is shared among the signs; one that gets a single cell shows its peak, else moments that count much."""
    signs = explanation.signs[:MOST_CELLS]
    count = max(1, COLUMNS // len(signs))
    if count == 1:
        return [(position, explanation.peak_frame(sign)) for position, sign in enumerate(signs)]
    return [(position, frame) for position, sign in enumerate(signs) for frame in _moments(sign, count)]


def _moments(sign: ExplainedSign, count: int) -> list[int]:
    """Frames that part what the sign rests on into equal shares, in their order, each once."""
    weight = sign.saliency.reshape(len(sign.saliency), -1).sum(1)
    share = np.cumsum(weight) / max(float(weight.sum()), 1e-12)
    frames = np.searchsorted(share, (np.arange(count) + 0.5) / count).clip(0, len(weight) - 1)
    return list(dict.fromkeys(frames.tolist()))


def _title(explanation: Explanation) -> str:
    return "  ".join(sign.name for sign in explanation.signs)


def _sheet(figure: Figure, explanation: Explanation, cells: list[tuple[int, int]], rows: int) -> None:
    painter, (per_unit, _), colours = Painter(explanation=explanation), clock(explanation), sign_colours(explanation)
    columns = min(COLUMNS, max(len(cells), 3))
    grid = figure.add_gridspec(rows, columns, left=0.04, right=0.96, top=0.86, bottom=0.42, wspace=0.05, hspace=0.25)
    for place, (sign, frame) in enumerate(cells):
        axes = figure.add_subplot(grid[place // columns, place % columns])
        axes.imshow(painter.paint(frame, of=sign))
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=colours[sign], linewidth=2.5)
        moment = f"{frame / per_unit:.2f} s" if explanation.clip.fps else f"frame {frame}"
        name, confidence = explanation.signs[sign].name, explanation.signs[sign].confidence
        label = moment if explanation.isolated else f"{name}, {confidence:.0%}\n{moment}"
        axes.set_xlabel(label, fontsize=11, color=colours[sign])
