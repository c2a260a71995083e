"""Texts of a split against what was said: BLEU-1 to 4, ROUGE-L, chrF by named conventions, by length, clip by clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from models.metrics.translation import PRESETS, TextPreset, TranslationScores, preset_of, score_translations
from models.recognition import Recognition
from models.text import TextAnswer
from workloads.file_scoring.figures import length_name

LENGTHS = ((1, 5), (6, 10), (11, 15), (16, None))  # tokens of the reference, of words or characters as the convention counts
SHOWN = 3  # clips in the table


@dataclass(frozen=True, kw_only=True)
class ClipText:
    """A clip's reference and what was found, the likeliest first."""

    name: str
    reference: str
    answers: tuple[TextAnswer, ...]

    @property
    def text(self) -> str:
        return self.answers[0].text


@dataclass(frozen=True, kw_only=True)
class TextEvaluation:
    """The translated clips of a split. preset: the corpus's own convention; scores: by it first, then by sacrebleu's own for comparison."""

    preset: TextPreset
    clips: tuple[ClipText, ...]
    scores: tuple[TranslationScores, ...]

    @property
    def answer(self) -> TranslationScores:
        """The scores by the corpus's convention."""
        return self.scores[0]

    @property
    def by_length(self) -> dict[tuple[int, int | None], tuple[int, TranslationScores]]:
        """Clips and scores by the reference's number of tokens, (from, to); lengths that no clip has are left out."""
        table = {}
        for low, high in LENGTHS:
            chosen = [clip for clip in self.clips if low <= self._tokens(clip) and (high is None or self._tokens(clip) <= high)]
            if chosen:
                table[low, high] = (len(chosen), _scores(chosen, self.preset))
        return table

    def _tokens(self, clip: ClipText) -> int:
        return len(clip.reference.split()) if self.preset.level == "word" else len("".join(clip.reference.split()))

    def record(self) -> dict[str, Any]:
        """Everything but the single clips, as plain values."""
        return {
            "num_clips": len(self.clips),
            "conventions": [_record(scores) for scores in self.scores],
            "lengths": [
                {"from": low, "to": high, "num_clips": count, "bleu4": scores.bleu.bleu4, "rouge_l": scores.rouge_l}
                for (low, high), (count, scores) in self.by_length.items()
            ],
        }

    def clip_records(self) -> dict[str, dict[str, Any]]:
        """By name: the reference, the text, and all that were found with their scores."""
        return {
            clip.name: {
                "text_reference": clip.reference,
                "text": clip.text,
                "texts": [{"text": entry.text, "score": round(entry.score, 4)} for entry in clip.answers],
            }
            for clip in self.clips
        }


def score_texts(answers: Sequence[tuple[Recognition, str | None]], corpus: str) -> TextEvaluation | None:
    """Outcomes with what was said, None where that isn't known. None where no clip has both a reference and a translation."""
    clips = tuple(ClipText(name=outcome.name, reference=text, answers=outcome.texts) for outcome, text in answers if outcome.texts and text)
    if not clips:
        return None
    own = preset_of(corpus)
    presets = dict.fromkeys((own.name, "zh" if own.level == "char" else "13a"))
    return TextEvaluation(preset=own, clips=clips, scores=tuple(_scores(clips, PRESETS[name]) for name in presets))


def _scores(clips: Sequence[ClipText], preset: TextPreset) -> TranslationScores:
    return score_translations([clip.reference for clip in clips], [clip.text for clip in clips], preset)


def _record(scores: TranslationScores) -> dict[str, Any]:
    bleu = scores.bleu
    return {
        "convention": scores.preset.name,
        **{f"bleu{order}": getattr(bleu, f"bleu{order}") for order in (1, 2, 3, 4)},
        "rouge_l": scores.rouge_l,
        "chrf": scores.chrf.score,
        "bleu_signature": bleu.signature,
        "chrf_signature": scores.chrf.signature,
    }


def text_tables(evaluation: TextEvaluation) -> Iterator[RenderableType]:
    """Scores by convention and by length, and some clips."""
    yield _convention_table(evaluation)
    yield _length_table(evaluation)
    for clip in evaluation.clips[:: max(1, len(evaluation.clips) // SHOWN)][:SHOWN]:
        yield escape(f"{clip.name}\n  reference   {clip.reference}\n  translated  {clip.text or '(nothing)'}")


def _convention_table(evaluation: TextEvaluation) -> Table:
    table = Table("convention", title=f"Translation of {len(evaluation.clips):,} clips", title_justify="left", box=SIMPLE_HEAD)
    for column in ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "chrF"):
        table.add_column(column, justify="right")
    for scores in evaluation.scores:
        figures = (*(getattr(scores.bleu, f"bleu{order}") for order in (1, 2, 3, 4)), scores.rouge_l, scores.chrf.score)
        table.add_row(f"{scores.preset.name}: {scores.preset.description}", *(f"{figure:.2f}" for figure in figures))
    return table


def _length_table(evaluation: TextEvaluation) -> Table:
    table = Table("tokens of the reference", title=f"By length ({evaluation.preset.name})", title_justify="left", box=SIMPLE_HEAD)
    for column in ("clips", "BLEU-4", "ROUGE-L"):
        table.add_column(column, justify="right")
    for bucket, (count, scores) in evaluation.by_length.items():
        table.add_row(length_name(*bucket), str(count), f"{scores.bleu.bleu4:.2f}", f"{scores.rouge_l:.2f}")
    return table
