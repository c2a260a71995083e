"""Plots of a run as PNG files: loss terms, scores on dev, clip lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from workloads.training.events import Event
from workloads.training.tasks import TITLES

SIZE = (8.0, 4.5)


def draw_plots(folder: Path, events: Sequence[Event], *, train_frames: Sequence[int], dev_frames: Sequence[int]) -> list[Path]:
    """Write `losses.png`, `wer.png` (or `top1.png`) and `lengths.png` into `folder`; what there is nothing to show for is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = sorted((event for event in events if event["kind"] == "step"), key=lambda event: event["step"])
    validations = sorted((event for event in events if event["kind"] == "validation"), key=lambda event: event["step"])
    drawn = []
    if steps:
        drawn.append(_draw(folder / "losses.png", lambda axes: _losses(axes, steps)))
    if validations:
        drawn.append(_draw(folder / f"{validations[0]['metric']}.png", lambda axes: _scores(axes, validations)))
    drawn.append(_draw(folder / "lengths.png", lambda axes: _lengths(axes, train_frames, dev_frames)))
    return drawn


def _draw(path: Path, fill: Any) -> Path:
    figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
    fill(axes)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _losses(axes: Axes, steps: Sequence[Event]) -> None:
    numbers = np.array([event["step"] for event in steps])
    window = max(1, len(steps) // 100)
    for name in (name for name in steps[0]["terms"] if name != "loss"):
        values = np.array([event["terms"][name] for event in steps])
        smooth = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(numbers[window - 1 :], smooth, label=name, linestyle="--" if name.startswith("distil") else "-", linewidth=1.3)
    axes.set(xlabel="step", ylabel=f"loss term (mean of {window} steps)" if window > 1 else "loss term", title="Loss terms, unweighted")
    axes.set_ylim(bottom=0)
    axes.legend(ncols=2, frameon=False, fontsize=8)


def _scores(axes: Axes, validations: Sequence[Event]) -> None:
    epochs = [event["epoch"] + 1 for event in validations]
    for head in validations[0]["scores"]:
        emphasis = {"linewidth": 2.4, "color": "black"} if head == "ensemble" else {"linewidth": 1.3}
        axes.plot(epochs, [event["scores"][head] for event in validations], label=head, marker="." if len(epochs) < 40 else None, **emphasis)
    title = TITLES[validations[0]["metric"]]
    axes.set(xlabel="epoch", ylabel=f"{title}, %", title=f"{title} on dev, by head")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)


def _lengths(axes: Axes, train_frames: Sequence[int], dev_frames: Sequence[int]) -> None:
    edges = np.histogram_bin_edges([*train_frames, *dev_frames], bins=30).tolist()
    for frames, label in ((train_frames, "train"), (dev_frames, "dev")):
        axes.hist(frames, bins=edges, label=f"{label}, {len(frames)} clips", alpha=0.7, density=True)
    axes.set(xlabel="frames of a clip", ylabel="density", title="Clip lengths")
    axes.legend(frameon=False, fontsize=8)
