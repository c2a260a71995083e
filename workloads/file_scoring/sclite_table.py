"""Word errors in the layout that users of sclite know: its summary by speaker, and aligned sentences."""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

from models.metrics.wer import AlignedPair, WordErrors, align

HEAD = ("Corr", "Sub", "Del", "Ins", "Err", "S.Err")
MARKS = {"correct": "", "substitution": "S", "deletion": "D", "insertion": "I"}


def summary_table(title: str, speakers: Mapping[str, Sequence[WordErrors]]) -> list[str]:
    """Percentages by speaker, their sum, mean, standard deviation and median; `speakers` → counts of each of their sentences.

    A speaker without a reference token has no percentages, and is left out of the mean.
    """
    everyone = [errors for sentences in speakers.values() for errors in sentences]
    rows = {speaker: _percentages(sentences) for speaker, sentences in speakers.items()}
    counts = {speaker: (len(sentences), _tokens(sentences)) for speaker, sentences in speakers.items()}
    known = [row for row in rows.values() if row]
    moments = {name: _column_wise(function, known) for name, function in (("Mean", statistics.mean), ("S.D.", _deviation), ("Median", statistics.median))}
    totals = list(counts.values())
    number_moments = {
        name: _column_wise(function, totals) for name, function in (("Mean", statistics.mean), ("S.D.", _deviation), ("Median", statistics.median))
    }
    width = max(map(display_width, [*rows, "Sum/Avg"]))
    body = [_row(speaker, [f"{count:d}" for count in counts[speaker]], rows[speaker], width) for speaker in rows]
    total = _row("Sum/Avg", [f"{len(everyone):d}", f"{_tokens(everyone):d}"], _percentages(everyone), width)
    ends = [_row(name, [f"{value:.1f}" for value in number_moments[name] or ()], moments[name], width) for name in moments]
    head = f"| {_padded('SPKR', width)} | {'# Snt':>6} {'# Wrd':>7} | {' '.join(f'{name:>6}' for name in HEAD)} |"
    inner = display_width(head) - 2
    double, single = f"|{'=' * inner}|", f"|{'-' * inner}|"
    return [f",{'-' * inner}.", f"|{_centred(title, inner)}|", single, head, single, *body, double, total, double, *ends, f"`{'-' * inner}'"]


def alignment_lines(name: str, reference: Sequence[str], hypothesis: Sequence[str], errors: WordErrors) -> Iterator[str]:
    """One sentence with its tokens below one another; stars stand for what a side lacks."""
    yield f"id: ({name})"
    yield f"Scores: (#C #S #D #I) {errors.correct} {errors.substitutions} {errors.deletions} {errors.insertions}"
    columns = [_column(pair) for pair in align(reference, hypothesis)]
    for label, cells in zip(("REF: ", "HYP: ", "Eval:"), zip(*columns, strict=True) if columns else ((), (), ()), strict=True):
        yield f"{label} {' '.join(cells)}".rstrip()
    yield ""


def display_width(text: str) -> int:
    """Columns of a terminal that `text` takes: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _column(pair: AlignedPair) -> tuple[str, str, str]:
    width = max(display_width(token) for token in (pair.reference, pair.hypothesis) if token is not None)
    reference, hypothesis = ("*" * width if token is None else token for token in (pair.reference, pair.hypothesis))
    return _padded(reference, width), _padded(hypothesis, width), _padded(MARKS[pair.operation], width)


def _percentages(sentences: Sequence[WordErrors]) -> tuple[float, ...] | None:
    """Correct, substitutions, deletions, insertions, errors in percent of the reference tokens; then sentences with an error in percent."""
    errors = sum(sentences, WordErrors())
    if not errors.reference_tokens:
        return None
    kinds = (errors.correct, errors.substitutions, errors.deletions, errors.insertions, errors.errors)
    wrong = sum(sentence.errors > 0 for sentence in sentences)
    return (*(errors.rate_of(count) for count in kinds), 100.0 * wrong / len(sentences))


def _tokens(sentences: Sequence[WordErrors]) -> int:
    return sum(errors.reference_tokens for errors in sentences)


def _column_wise(function: object, rows: Sequence[Sequence[float]]) -> tuple[float, ...] | None:
    assert callable(function)
    return tuple(float(function(column)) for column in zip(*rows, strict=True)) or None


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _row(name: str, numbers: Sequence[str], percentages: Sequence[float] | None, width: int) -> str:
    cells = [f"{value:.1f}" for value in percentages] if percentages else ["-"] * len(HEAD)
    return f"| {_padded(name, width)} | {numbers[0]:>6} {numbers[1]:>7} | {' '.join(f'{cell:>6}' for cell in cells)} |"


def _padded(text: str, width: int) -> str:
    return text + " " * (width - display_width(text))


def _centred(text: str, width: int) -> str:
    left = max(0, width - display_width(text)) // 2
    return _padded(" " * left + text, width)
