"""What a sweep ends with: a table, plots, every figure as JSON, and the best recipe."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cluster.tracking import Tracker
from tune.sweep_file import Sweep
from tune.sweep_plots import draw_plots
from tune.trial_run import best_recipe
from tune.trials import Record
from workloads.recipe import Recipe
from workloads.reports import write_json

if TYPE_CHECKING:
    from tune.sweeping import SweepResult

RESULT, CSV, BEST, PLOTS = "result.json", "trials.csv", "best.yaml", "plots"


def write_report(result: SweepResult, recipe: Recipe, tracker: Tracker) -> None:
    """Everything into the sweep's folder and its run in MLflow."""
    folder, sweep = result.folder, result.sweep
    _write_csv(folder / CSV, sweep, (*result.records, *result.repeats))
    write_json(folder / RESULT, document(result))
    files = [folder / CSV, folder / RESULT]
    if result.winner is not None:
        (folder / BEST).write_text(best_recipe(recipe, result.winner.trial, name=f"{recipe.recipe}-best", head=_head(result)), encoding="utf-8")
        files.append(folder / BEST)
        scores = {f"{sweep.metric.partition('/')[0]}/{head}": score for head, score in result.winner.scores.items()}
        tracker.log_metrics({**scores, "trials": len(result.records)}, step=len(result.records))
    for path in files:
        tracker.log_artifact(path)
    for path in draw_plots(folder / PLOTS, sweep, result.records):
        tracker.log_artifact(path, PLOTS)
    tracker.set_tags({"mlflow.note.content": note(result)})


def document(result: SweepResult) -> dict[str, Any]:
    """Plain values: trials with their courses, the winner, mean and spread over seeds."""
    spread = result.mean_and_spread
    return {
        "metric": result.sweep.metric,
        "winner": result.winner.trial.name if result.winner else None,
        "seeds": {"scores": result.seed_scores, "mean": spread[0], "standard_deviation": spread[1]} if spread else None,
        "trials": [{**asdict(record), "score": score(result.sweep, record)} for record in (*result.records, *result.repeats)],
    }


def score(sweep: Sweep, record: Record) -> float | None:
    return None if record.loss is None else sweep.loss(record.loss)


def sweep_table(result: SweepResult) -> Table:
    """The trials, the best first; those without a score last, with the reason."""
    sweep = result.sweep
    table = Table("trial", *sweep.space, sweep.metric, "epochs", "ended", box=SIMPLE_HEAD, title=f"{len(result.records)} trials")
    for record in ordered(result.records):
        name, style = record.trial.name, "bold" if result.winner and record.trial == result.winner.trial else None
        table.add_row(name, *_cells(sweep, record), style=style)
    for record in result.repeats:
        table.add_row(record.trial.name, *_cells(sweep, record), style="dim")
    return table


def ordered(records: Sequence[Record]) -> list[Record]:
    return sorted(records, key=lambda record: float("inf") if record.loss is None else record.loss)


def _cells(sweep: Sweep, record: Record) -> list[str]:
    values = [shown(record.trial.values[key]) for key in sweep.space]
    found = score(sweep, record)
    at = f" at {record.best_epoch}" if record.loss is not None and record.best_epoch != record.epochs else ""
    return [*values, "–" if found is None else f"{found:.2f}{at}", str(record.epochs), f"{record.status}{f': {record.reason}' if record.reason else ''}"]


def shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sentence(result: SweepResult) -> str:
    """One line: the best, and how sure it is."""
    if result.winner is None:
        return "no trial has a score yet"
    spread = result.mean_and_spread
    sure = f"; with {len(result.seed_scores)} seeds {spread[0]:.2f} ± {spread[1]:.2f} (mean, standard deviation)" if spread else ""
    return f"best: trial {result.winner.trial.name}, {result.sweep.metric} {score(result.sweep, result.winner):.2f}{sure}"


def note(result: SweepResult) -> str:
    """The table as Markdown, as MLflow shows it on the run's page."""
    columns = ["trial", *result.sweep.space, result.sweep.metric, "epochs", "ended"]
    rows = [[record.trial.name, *_cells(result.sweep, record)] for record in (*ordered(result.records), *result.repeats)]
    lines = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows[:30])]
    return f"{sentence(result)}\n\n" + "\n".join(lines)


def _head(result: SweepResult) -> str:
    return f"{sentence(result)}, of {len(result.records)} trials.\nFound by {result.folder.name}; train it with: python workloads/train.py --recipe THIS_FILE"


def _write_csv(path: Path, sweep: Sweep, records: Sequence[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trial", *sweep.space, sweep.metric, "epochs", "ended", "reason", "seconds"])
        for record in records:
            values = [record.trial.values[key] for key in sweep.space]
            writer.writerow([record.trial.name, *values, score(sweep, record), record.epochs, record.status, record.reason, record.seconds])
