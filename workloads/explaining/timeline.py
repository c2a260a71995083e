"""What was signed when: posteriors of the recognised glosses over time with their spans, or the likeliest signs as bars."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from models.explanation import Explanation

BLANK_COLOUR, INK, SOFT, FAINT = "#9aa3af", "#1f2430", "#5a6372", "#c9ced6"
CANDIDATES = 5
FADED = 0.25
EDGE = 0.045  # share of the axis


def sign_colours(explanation: Explanation) -> list[str]:
    """Colour of each sign of the answer: one for each name, ten that differ."""
    names = list(dict.fromkeys(sign.name for sign in explanation.signs))
    return [str(mpl.colors.to_hex(mpl.colormaps["tab10"](names.index(sign.name) % 10))) for sign in explanation.signs]


def source_line(explanation: Explanation) -> str:
    """The clip's name, and what it shows where that is known."""
    reference = explanation.clip.label if explanation.isolated else " ".join(explanation.clip.glosses or ())
    return Path(explanation.clip.name).name + (f"; signed: {reference}" if reference else "")


def clock(explanation: Explanation) -> tuple[float, str]:
    """Frames per unit of the time axis, and the unit."""
    fps = explanation.clip.fps
    return (fps, "seconds") if fps else (1.0, "frames (the clip's frames per second are unknown)")


def draw_timeline(axes: Axes, explanation: Explanation, *, active: int | None = None) -> None:
    """The timeline of a clip. active: the sign that is signed now, the others fade; None: all alike."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=10)
    if explanation.isolated:
        _bars(axes, explanation)
    else:
        _curves(axes, explanation, active)


def _bars(axes: Axes, explanation: Explanation) -> None:
    probabilities = explanation.posteriors[0]
    best = np.argsort(-probabilities, kind="stable")[:CANDIDATES][::-1]
    explained = {sign.index: position for position, sign in enumerate(explanation.signs)}
    own = sign_colours(explanation)
    colours = [own[explained[index]] if index in explained else FAINT for index in best.tolist()]
    axes.barh([explanation.classes[index] for index in best], probabilities[best], color=colours, height=0.65)
    for row, index in enumerate(best):
        axes.text(probabilities[index] + 0.01, row, f"{probabilities[index]:.1%}", va="center", fontsize=10, color=INK)
    axes.set_xlim(0, 1.1)
    axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_xlabel("probability", color=INK)


def _curves(axes: Axes, explanation: Explanation, active: int | None) -> None:
    per_unit, unit = clock(explanation)
    times = explanation.step_frames / per_unit
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
    end = explanation.clip.num_frames / per_unit
    axes.fill_between(times, explanation.posteriors[:, 0], color=BLANK_COLOUR, alpha=0.13, linewidth=0, label="blank (no gloss)")
    for position, (sign, colour) in enumerate(zip(explanation.signs, sign_colours(explanation), strict=True)):
        strength = 1.0 if active in (None, position) else FADED
        first, last = times[sign.steps[0]] - half, times[sign.steps[1] - 1] + half
        axes.axvspan(first, last, color=colour, alpha=0.16 * strength, linewidth=0)
        axes.plot(times, explanation.posteriors[:, sign.index], color=colour, alpha=strength, linewidth=2.2)
        level = 1.05 + 0.13 * (position % 2)  # neighbours' names don't meet
        x, side = _label_place(first, last, end)
        axes.text(x, level, sign.name, color=colour, alpha=max(strength, 0.45), ha=side, va="bottom", fontsize=11, fontweight="bold")
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1.34)
    axes.set_yticks([0, 0.5, 1], ["0", "50 %", "100 %"])
    axes.set_ylabel("posterior", color=INK)
    axes.set_xlabel(unit, color=INK)
    axes.legend(loc="upper right", bbox_to_anchor=(1, -0.12), frameon=False, fontsize=9, labelcolor=INK)


def _label_place(first: float, last: float, end: float) -> tuple[float, str]:
    """Where the name of a span stands and what of it: at the axis' ends it must not hang over."""
    middle = (first + last) / 2
    if middle < EDGE * end:
        return max(first, 0.0) + 0.004 * end, "left"
    return (min(last, end), "right") if middle > (1 - EDGE) * end else (middle, "center")
