"""Results of isolated recognition for people and programs: tables on the terminal, JSON, a plot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from models.metrics.accuracy import TopKAccuracy
from workloads.reports import MOST_CONFUSED, MOST_SIGNERS, MOST_UNSCORED, confusion_table
from workloads.sign_scoring import TOP, SignEvaluation, SignScore

mpl.use("Agg")
from matplotlib import pyplot as plt

KINDS = ("per_instance", "per_class")


def evaluation_tables(evaluation: SignEvaluation) -> Iterator[RenderableType]:
    """Accuracy by head, by signer, the most confused pairs, and what could not be scored or known."""
    table = _table(f"Accuracy in %, per clip and per class: {len(evaluation.clips):,} clips of {evaluation.split}, {len(evaluation.classes):,} signs", "head")
    for head, accuracy in evaluation.accuracy.items():
        answers = head == evaluation.head
        table.add_row(f"{head} (answers)" if answers else head, *_cells(accuracy), style="bold" if answers else None)
    yield table
    if len(evaluation.by_signer) > 1:
        yield _signer_table(evaluation)
    if evaluation.confused:
        yield confusion_table(evaluation.confused, evaluation.head, of="label")
    yield from _remarks(evaluation)


def _signer_table(evaluation: SignEvaluation) -> Table:
    table = _table(f"By signer, head {evaluation.head}", "signer")
    table.add_column("clips", justify="right")
    for signer, accuracy in list(evaluation.by_signer.items())[:MOST_SIGNERS]:
        table.add_row(escape(signer), *_cells(accuracy), f"{accuracy[1].num_clips:,}")
    if len(evaluation.by_signer) > MOST_SIGNERS:
        table.caption = f"and {len(evaluation.by_signer) - MOST_SIGNERS} more in evaluation.json"
    return table


def _remarks(evaluation: SignEvaluation) -> Iterator[str]:
    interval = evaluation.top1_interval
    yield f"top-1 of {evaluation.head} {interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}] ({100 * interval.confidence:g} % bootstrap over clips)"
    low = sum(clip.low_confidence for clip in evaluation.clips)
    yield f"low confidence: {low:,} of {len(evaluation.clips):,} answers are below {evaluation.decoding.low_confidence:g}"
    empty = len(evaluation.accuracy[evaluation.head][1].classes_without_clips)
    if empty:
        yield f"per class: the mean over {len(evaluation.classes) - empty:,} signs; {empty:,} have no clip in {evaluation.split}"
    if evaluation.unknown:
        shown = ", ".join(f"{label} ({count})" for label, count in list(evaluation.unknown.items())[:MOST_CONFUSED])
        yield escape(f"labels that the network doesn't know, whose clips are not scored: {shown}")
    for clip in evaluation.unscored[:MOST_UNSCORED]:
        yield escape(f"not scored: {clip.name}: {clip.reason}")
    if len(evaluation.unscored) > MOST_UNSCORED:
        yield f"not scored: {len(evaluation.unscored) - MOST_UNSCORED:,} more, see evaluation.json"


def _table(title: str, first: str) -> Table:
    table = Table(first, title=title, title_justify="left", box=SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for kind in KINDS:
        for k in TOP:
            table.add_column(f"top-{k}" if kind == KINDS[0] else f"top-{k} class", justify="right", no_wrap=True)
    return table


def _cells(accuracy: Mapping[int, TopKAccuracy]) -> list[str]:
    return [f"{getattr(accuracy[k], kind):.2f}" for kind in KINDS for k in TOP]


def clip_record(clip: SignScore) -> dict[str, Any]:
    """One line of `predictions.jsonl`: what each head recognised, and how many signs it ranked above the label."""
    return {
        "name": clip.name,
        "signer": clip.signer,
        "label": clip.label,
        "recognised": dict(clip.recognised),
        "ranks": dict(clip.ranks),
        "confidence": round(clip.confidence, 4),
        "low_confidence": clip.low_confidence,
    }


def draw_accuracy(path: Path, evaluation: SignEvaluation) -> None:
    """Bars of each head's top-1 and top-5 per instance, as a PNG file."""
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    names = list(evaluation.accuracy)
    places = np.arange(len(names))
    for number, (k, colour) in enumerate(zip(TOP, ("#4477aa", "#a6c0dd"), strict=True)):
        values = [accuracy[k].per_instance for accuracy in evaluation.accuracy.values()]
        bars = axes.bar(places + (number - 0.5) * 0.38, values, width=0.36, label=f"top-{k}", color=colour)
        axes.bar_label(bars, fmt="%.1f", fontsize=8)
    axes.set_xticks(places, [name.replace("_", " ") for name in names])
    axes.set(ylabel="clips recognised, %", title=f"{evaluation.scored_corpus}, {evaluation.split}: {len(evaluation.clips):,} clips", ylim=(0, 109))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.savefig(path, dpi=120)
    plt.close(figure)
