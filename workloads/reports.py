"""Results for people and programs: tables on the terminal, JSON files, a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from models.answering import Unanswered
from models.classification import Classification
from models.decoding.shallow_fusion import FusionCard
from models.metrics.wer import WordErrors
from models.recognition import RecognisedGloss, Recognition
from workloads.file_scoring.figures import interval_text, length_name
from workloads.scoring import ClipScore, Evaluation
from workloads.text_scoring import text_tables

mpl.use("Agg")
from matplotlib import pyplot as plt

ERROR_KINDS = {"substitutions": "#4477aa", "deletions": "#ccbb44", "insertions": "#ee6677"}
MOST_CONFUSED, MOST_SIGNERS, MOST_UNSCORED = 10, 20, 5


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")


def evaluation_tables(evaluation: Evaluation) -> Iterator[RenderableType]:
    """What was translated, where anything was; WER by head, by signer, the most confused pairs, and what could not be scored or known."""
    if evaluation.texts:
        yield from text_tables(evaluation.texts)
    yield _head_table(evaluation)
    if len(evaluation.by_signer) > 1:
        yield _signer_table(evaluation)
    if evaluation.confused:
        yield confusion_table(evaluation.confused, evaluation.head, of="reference")
    yield from _remarks(evaluation)


def _head_table(evaluation: Evaluation) -> Table:
    glosses = evaluation.errors[evaluation.head].reference_tokens
    table = _table(f"Word error rate in % of {glosses:,} glosses, {len(evaluation.clips):,} clips of {evaluation.split}", "head")
    for head, errors in evaluation.errors.items():
        name = f"{head} (answers)" if head == evaluation.head else head
        table.add_row(name, *_rates(errors), style="bold" if head == evaluation.head else None)
    return table


def _signer_table(evaluation: Evaluation) -> Table:
    table = _table(f"By signer, head {evaluation.head}", "signer")
    table.add_column("glosses", justify="right")
    for signer, errors in list(evaluation.by_signer.items())[:MOST_SIGNERS]:
        rates = _rates(errors) if errors.reference_tokens else ("–",) * 4
        table.add_row(escape(signer), *rates, f"{errors.reference_tokens:,}")
    if len(evaluation.by_signer) > MOST_SIGNERS:
        table.caption = f"and {len(evaluation.by_signer) - MOST_SIGNERS} more in evaluation.json"
    return table


def confusion_table(confused: Sequence[tuple[str, str, int]], head: str, *, of: str) -> Table:
    """The pairs that were confused most, of annotation and answer. of: what the annotation is called."""
    table = Table(of, "recognised", title=f"Most confused, head {head}", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("times", justify="right")
    for annotated, recognised, count in confused[:MOST_CONFUSED]:
        table.add_row(escape(annotated), escape(recognised), str(count))
    return table


def _remarks(evaluation: Evaluation) -> Iterator[str]:
    interval = evaluation.interval
    yield escape(f"{evaluation.head}: {interval.value:.2f} %{interval_text(interval)}")
    if evaluation.fusion:
        yield escape(f"added to the search: {_fusion_text(evaluation.fusion)}")
    lengths = [f"{length_name(*bucket)}: {errors.rate:.2f} %" for bucket, errors in evaluation.by_length.items() if errors.reference_tokens]
    yield f"by glosses in the reference: {', '.join(lengths)}"
    low = sum(clip.low_confidence for clip in evaluation.clips)
    yield f"published protocol (the smallest of the {len(evaluation.wer)} on this split; not to select by): {evaluation.published_protocol_wer:.2f} %"
    yield f"low confidence: {low:,} of {len(evaluation.clips):,} answers are below {evaluation.decoding.low_confidence:g}"
    if evaluation.unknown:
        shown = ", ".join(f"{gloss} ({count})" for gloss, count in list(evaluation.unknown.items())[:MOST_CONFUSED])
        more = f" and {len(evaluation.unknown) - MOST_CONFUSED:,} more" if len(evaluation.unknown) > MOST_CONFUSED else ""
        yield escape(f"glosses of the references that the vocabulary lacks, each counted as an error: {shown}{more}")
    for clip in evaluation.unscored[:MOST_UNSCORED]:
        yield escape(f"not scored: {clip.name}: {clip.reason}")
    if len(evaluation.unscored) > MOST_UNSCORED:
        yield f"not scored: {len(evaluation.unscored) - MOST_UNSCORED:,} more, see evaluation.json"


def _fusion_text(card: FusionCard) -> str:
    model = [f"language model {card.language_model} (alpha {card.alpha:g}, beta {card.beta:g})"] if card.language_model else []
    hot_words = [f"hot word {gloss} ({bonus:+g})" for gloss, bonus in card.hot_words.items()]
    return ", ".join(model + hot_words)


def _table(title: str, first: str) -> Table:
    table = Table(first, title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("WER", "sub", "del", "ins"):
        table.add_column(column, justify="right")
    return table


def _rates(errors: WordErrors) -> tuple[str, ...]:
    return tuple(f"{errors.rate_of(count):.2f}" for count in (errors.errors, errors.substitutions, errors.deletions, errors.insertions))


def clip_record(clip: ClipScore) -> dict[str, Any]:
    """One line of `predictions.jsonl`: the sentences as compared, the errors of each head, the one that answers first."""
    return {
        "name": clip.name,
        "signer": clip.signer,
        "reference": " ".join(clip.reference),
        "hypotheses": {head: " ".join(words) for head, words in clip.hypotheses.items()},
        "errors": {head: {"S": errors.substitutions, "D": errors.deletions, "I": errors.insertions} for head, errors in clip.errors.items()},
        "confidence": round(clip.confidence, 4),
        "low_confidence": clip.low_confidence,
    }


def draw_wer(path: Path, evaluation: Evaluation) -> None:
    """Bars of each head's errors by kind, as a PNG file."""
    figure, axes = plt.subplots(figsize=(7.0, 4.2), layout="constrained")
    names = list(evaluation.errors)
    base = [0.0] * len(names)
    for kind, colour in ERROR_KINDS.items():
        heights = [errors.rate_of(getattr(errors, kind)) for errors in evaluation.errors.values()]
        axes.bar(names, heights, bottom=base, label=kind, color=colour, width=0.65)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    for position, rate in enumerate(evaluation.wer.values()):
        axes.text(position, rate, f"{rate:.1f}", ha="center", va="bottom", fontweight="bold" if position == 0 else "normal")
    axes.set(ylabel="WER in % of the references' glosses", title=f"{evaluation.scored_corpus}, {evaluation.split}: {len(evaluation.clips):,} clips")
    axes.set_ylim(0, max(1.0, max(base) * 1.12))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.08))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def outcome_tables(outcomes: Sequence[Recognition | Classification | Unanswered]) -> Iterator[RenderableType]:
    """Glosses with times and confidence, one clip below the other; then the clips that could not be recognised, a line each."""
    recognised = [outcome for outcome in outcomes if isinstance(outcome, Recognition)]
    if recognised:
        table = Table("clip", "gloss", box=SIMPLE_HEAD)
        table.columns[0].overflow = "fold"
        for column in ("from", "to", "confidence"):
            table.add_column(column, justify="right", no_wrap=True)
        for outcome in recognised:
            for number, row in enumerate(_recognition_rows(outcome)):
                table.add_row(escape(outcome.name) if number == 0 else "", *row)
            table.add_section()
        yield table
        yield from _texts(recognised)
    signs = [outcome for outcome in outcomes if isinstance(outcome, Classification)]
    if signs:
        yield _sign_table(signs)
    for failed in (outcome for outcome in outcomes if isinstance(outcome, Unanswered)):
        named = failed.reason if failed.reason.startswith(failed.name) else f"{failed.name}: {failed.reason}"
        yield f"[red]error:[/red] {escape(named)}"


def _texts(outcomes: Sequence[Recognition]) -> Iterator[RenderableType]:
    """What was translated, a row a text, the likeliest of a clip first."""
    translated = [outcome for outcome in outcomes if outcome.texts]
    if translated:
        table = Table("clip", "text", box=SIMPLE_HEAD)
        table.columns[0].overflow = "fold"
        table.add_column("score", justify="right", no_wrap=True)
        for outcome in translated:
            for number, entry in enumerate(outcome.texts):
                table.add_row(escape(outcome.name) if number == 0 else "", escape(entry.text) or "(nothing)", f"{entry.score:.2f}")
            table.add_section()
        yield table


def _sign_table(outcomes: Sequence[Classification]) -> Table:
    """A row a clip: the likeliest sign, and the next ones with their probabilities."""
    table = Table("clip", "sign", box=SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    table.add_column("confidence", justify="right", no_wrap=True)
    table.add_column("then")
    for outcome in outcomes:
        first, *others = outcome.answer.candidates
        then = ", ".join(f"{sign.label} {sign.probability:.2f}" for sign in others[:3])
        mark = " [yellow](low)[/yellow]" if outcome.low_confidence else ""
        table.add_row(escape(outcome.name), escape(first.label), f"{first.probability:.2f}{mark}", escape(then))
    return table


def _recognition_rows(outcome: Recognition) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(escape(entry.gloss), *_times(entry), f"{entry.confidence:.2f}") for entry in outcome.answer.glosses]
    if outcome.low_confidence:
        remark = "low confidence, don't rely on it" if rows else "nothing recognised"
        rows.append((f"[yellow]({remark})[/yellow]", "", "", f"[yellow]{outcome.confidence:.2f}[/yellow]"))
    return rows


def _times(entry: RecognisedGloss) -> tuple[str, str]:
    if entry.start_s is None or entry.end_s is None:
        return f"frame {entry.start_frame}", f"{entry.end_frame}"
    return f"{entry.start_s:.2f} s", f"{entry.end_s:.2f} s"
