"""Plots of a sweep: its trials as parallel coordinates, and which keys mattered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from tune.proposals import distribution, to_optuna
from tune.sweep_file import Span, Sweep
from tune.trials import Record
from workloads.training.tasks import TITLES

FEWEST = 4  # trials with a score that say anything of importance


def draw_plots(folder: Path, sweep: Sweep, records: Sequence[Record]) -> list[Path]:
    """Write `parallel.png` and `importance.png` into `folder`; what there is nothing to show for is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    scored = [record for record in records if record.loss is not None and record.status != "failed"]
    drawn = []
    if scored:
        drawn.append(_parallel(folder / "parallel.png", sweep, scored))
    importance = importances(sweep, scored)
    if importance:
        drawn.append(_importance(folder / "importance.png", importance, sweep, len(scored)))
    return drawn


def importances(sweep: Sweep, records: Sequence[Record]) -> dict[str, float]:
    """Share of the losses' variance that each key explains (functional ANOVA by Optuna); nothing where there are too few trials or all are alike."""
    losses = [record.loss for record in records if record.loss is not None]
    if len(losses) < FEWEST or max(losses) == min(losses):
        return {}
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    distributions = {key: distribution(span) for key, span in sweep.space.items()}
    for record in records:
        params = {key: to_optuna(span, record.trial.values[key]) for key, span in sweep.space.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=record.loss))
    return dict(optuna.importance.get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)))


def place(span: Span, value: Any) -> float:
    """Where a value lies on its axis, 0 to 1."""
    if span.choices is not None:
        return span.choices.index(value) / max(1, len(span.choices) - 1)
    low, high = span.bounds
    low, high, value = (np.log([low, high, value]) if span.log else np.array([low, high, value])).tolist()
    return float((value - low) / (high - low))


def ticks(span: Span) -> list[tuple[float, str]]:
    """Places and labels of an axis."""
    if span.choices is not None:
        return [(place(span, choice), str(choice)) for choice in span.choices]
    low, high = span.bounds
    middle = float(np.sqrt(low * high)) if span.log else (low + high) / 2
    return [(place(span, value), f"{value:.3g}") for value in (low, middle, high)]


def _parallel(path: Path, sweep: Sweep, records: Sequence[Record]) -> Path:
    scores = [sweep.loss(record.loss) for record in records if record.loss is not None]
    low, high = min(scores), max(scores)
    norm, colours = Normalize(low, high if high > low else low + 1), plt.get_cmap("viridis" if sweep.metric_name == "top1" else "viridis_r")
    figure, axes = plt.subplots(figsize=(2.2 * len(sweep.space) + 3.5, 5.0), layout="constrained")
    for record, score in sorted(zip(records, scores, strict=True), key=lambda pair: pair[0].status == "finished"):
        heights = [*(place(span, record.trial.values[key]) for key, span in sweep.space.items()), norm(score)]
        whole = record.status == "finished"
        axes.plot(range(len(heights)), heights, color=colours(norm(score)), linewidth=2.0 if whole else 1.0, linestyle="-" if whole else "--")
    scale = [(0.0, f"{norm.vmin:.1f}"), (1.0, f"{norm.vmax:.1f}")]
    for number, marks in enumerate([*(ticks(span) for span in sweep.space.values()), scale]):
        axes.axvline(number, color="0.75", linewidth=0.8, zorder=0)
        for height, text in marks:
            axes.annotate(text, (number, height), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center", color="0.3")
    labels = [key.removeprefix("losses.weights.") for key in sweep.space]
    axes.set_xticks(range(len(labels) + 1), [*labels, sweep.metric], fontsize=9)
    axes.set(xlim=(-0.1, len(labels) + 0.35), ylim=(-0.05, 1.05), yticks=[], title=f"{len(records)} trials (dashed: stopped early)")
    axes.spines[:].set_visible(False)
    figure.colorbar(ScalarMappable(norm, colours), ax=axes, label=f"{TITLES[sweep.metric_name]}, %", pad=0.01)  # type: ignore[index]
    return _saved(figure, path)


def _importance(path: Path, importance: dict[str, float], sweep: Sweep, count: int) -> Path:
    figure, axes = plt.subplots(figsize=(8.0, 1.2 + 0.45 * len(importance)), layout="constrained")
    names = sorted(importance, key=lambda key: importance[key])
    axes.barh(names, [importance[name] for name in names], height=0.6)
    _label_bars(axes, [importance[name] for name in names])
    axes.set(xlabel=f"share of the variance of {sweep.metric} (functional ANOVA)", xlim=(0, 1), title=f"What mattered, by {count} trials")
    axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, path)


def _label_bars(axes: Axes, values: Sequence[float]) -> None:
    for number, value in enumerate(values):
        axes.annotate(f"{value:.2f}", (value, number), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
