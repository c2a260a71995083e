"""What a fusion says on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from models.batch import ENSEMBLE
from models.metrics.significance import Comparison
from tune.fusing import Fusion, Subset

ROVER = "ROVER (vote of the answers)"
UNITS = {
    "wer": "word error rate in % (lower is better)",
    "top1": "top-1 in % (higher is better)",
    "bleu4": "BLEU-4 (higher is better)",
    "rouge_l": "ROUGE-L (higher is better)",
}


def fusion_tables(fusion: Fusion, dev_split: str, test_split: str) -> Iterator[RenderableType]:
    """Scores and weights of what answers, how sure they are, and the price of each choice of members."""
    table = Table("answers", "weight", dev_split, test_split, title=f"Fusion: {UNITS[fusion.metric]}", box=SIMPLE_HEAD)
    for name, score in fusion.dev.items():
        weight = f"{fusion.weights[name]:.4f}" if name in fusion.weights else ""
        table.add_row(escape(name), weight, f"{score:.2f}", f"{fusion.test[name]:.2f}", style="bold" if name == ENSEMBLE else None)
    if fusion.voted:
        table.add_row(ROVER, "", f"{fusion.voted.dev:.2f}", f"{fusion.voted.test:.2f}", style="dim")
    yield table
    yield from sentences(fusion, dev_split, test_split)
    yield _subset_table(fusion.subsets, dev_split)


def sentences(fusion: Fusion, dev_split: str, test_split: str) -> Iterator[str]:
    """One line each: the search's figure against the cross-validated one, test with its interval, the paired test."""
    if fusion.held is None:
        yield f"{dev_split}, as searched: {fusion.searched:.2f} (no cross-validation: one clip or fold, or nothing to choose)"
    else:
        yield (
            f"{dev_split}, as searched: {fusion.searched:.2f}; on clips that the weights were not chosen on ({fusion.held.num_folds} folds): "
            f"{fusion.held.fused:.2f}, the best member chosen so: {fusion.held.best_member:.2f}"
        )
    interval, comparison = fusion.test_interval, fusion.comparison
    yield f"{test_split}: {interval.value:.2f}, {100 * interval.confidence:.0f} % interval {interval.low:.2f} to {interval.high:.2f}"
    yield f"{test_split}, ensemble less {escape(fusion.best_member)} (the best on {dev_split}): {_difference(comparison)}"
    if fusion.voted:
        yield f"{test_split}, ensemble less {ROVER}: {_difference(fusion.voted.comparison)}"


def _difference(comparison: Comparison) -> str:
    difference = comparison.difference
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}), p = {comparison.p_value:.3f}"


def _subset_table(subsets: tuple[Subset, ...], dev_split: str) -> Table:
    table = Table("members", dev_split, "parameters", "ms a clip", "", title="Score against cost (*: nothing is better and as cheap)", box=SIMPLE_HEAD)
    for subset in subsets:
        members = " + ".join(f"{weight:.2f} {escape(name)}" for name, weight in subset.weights.items())
        table.add_row(members, f"{subset.score:.2f}", f"{subset.parameters:,}", f"{subset.latency_ms:.1f}", "*" if subset.on_front else "")
    return table
