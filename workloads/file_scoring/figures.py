"""Scores as plain values and as words."""

from __future__ import annotations

from typing import Any

from models.metrics.significance import Comparison, Interval
from models.metrics.wer import WordErrors


def counts(errors: WordErrors) -> dict[str, Any]:
    """Counts and rate of word errors as plain values; the rate is None where there is no reference."""
    return {
        "wer": errors.rate if errors.reference_tokens else None,
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "correct": errors.correct,
        "reference_glosses": errors.reference_tokens,
    }


def interval_text(interval: Interval | None) -> str:
    """What follows a score that has an interval."""
    if interval is None:
        return ""
    return f" [{interval.low:.2f}, {interval.high:.2f}] ({100 * interval.confidence:g} % bootstrap over sentences, {interval.num_resamples:,} resamples)"


def comparison_line(score: str, comparison: Comparison, first: str, second: str) -> str:
    """Two runs in a line."""
    moved = comparison.difference
    return (
        f"{score} {first} {comparison.a:.2f}, {second} {comparison.b:.2f}: difference {moved.value:+.2f} [{moved.low:+.2f}, {moved.high:+.2f}], "
        f"p = {comparison.p_value:.4f} (approximate randomisation, {comparison.num_rounds:,} rounds)"
    )


def length_name(low: int, high: int | None) -> str:
    """A bucket of sentence lengths: "up to 4", "5-8", "17 or more"."""
    if low == 0 and high is not None:
        return f"up to {high}"
    return f"{low} or more" if high is None else f"{low}-{high}"
