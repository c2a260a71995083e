"""BLEU, ROUGE-L and chrF of a file of translations, by a named preset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from models.metrics.bleu import bleu_of_statistics, bleu_statistics
from models.metrics.rouge import rouge_l
from models.metrics.significance import Comparison, Interval, Rate, Statistics, bootstrap, compare, mean_rate, mean_statistics
from models.metrics.translation import PRESETS, TextPreset, TranslationScores, bleu_level, prepare, preset_of, score_translations
from workloads.file_scoring.figures import comparison_line, interval_text
from workloads.file_scoring.pairing import PairedSentences
from workloads.file_scoring.sentence_files import Problem

RESAMPLED = ("BLEU-4", "ROUGE-L")


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """A file of translations as scored. intervals, comparisons: of RESAMPLED by name, empty where no resampling (no other run) was asked for."""

    paired: PairedSentences
    corpus: str
    scores: TranslationScores
    intervals: dict[str, Interval]
    comparisons: dict[str, Comparison]
    other_run: PairedSentences | None
    problems: tuple[Problem, ...]

    def record(self) -> dict[str, Any]:
        """Everything as plain values."""
        bleu, preset = self.scores.bleu, self.scores.preset
        return {
            "task": "translation",
            "corpus": self.corpus,
            "preset": preset.name,
            "preset_description": preset.description,
            "hypotheses": str(self.paired.path),
            "num_sentences": len(self.paired.pairs),
            "bleu1": bleu.bleu1,
            "bleu2": bleu.bleu2,
            "bleu3": bleu.bleu3,
            "bleu4": bleu.bleu4,
            "bleu_signature": bleu.signature,
            "rouge_l": self.scores.rouge_l,
            "chrf": self.scores.chrf.score,
            "chrf_signature": self.scores.chrf.signature,
            "brevity_penalty": bleu.brevity_penalty,
            "intervals": {name: asdict(interval) for name, interval in self.intervals.items()},
            "comparison": self.other_run and {"hypotheses": str(self.other_run.path), **{name: asdict(found) for name, found in self.comparisons.items()}},
        }

    def lines(self) -> Iterator[str]:
        """The report for a terminal."""
        bleu, preset = self.scores.bleu, self.scores.preset
        yield f"{self.paired.path}: {len(self.paired.pairs):,} sentences, preset {preset.name}: {preset.description}"
        for name, value in (("BLEU-1", bleu.bleu1), ("BLEU-2", bleu.bleu2), ("BLEU-3", bleu.bleu3), ("BLEU-4", bleu.bleu4), ("ROUGE-L", self.scores.rouge_l)):
            yield f"{name:<8} {value:6.2f}{interval_text(self.intervals.get(name))}"
        yield f"{'chrF':<8} {self.scores.chrf.score:6.2f}"
        yield f"brevity penalty {bleu.brevity_penalty:.3f}: {bleu.hypothesis_length:,} tokens for {bleu.reference_length:,}"
        yield f"signatures: BLEU {bleu.signature}; chrF {self.scores.chrf.signature}; ROUGE-L as published, beta = precision / recall of the sentence"
        if self.other_run:
            for name, comparison in self.comparisons.items():
                yield comparison_line(name, comparison, str(self.paired.path), str(self.other_run.path))


def score_texts(runs: Sequence[PairedSentences], corpus: str, preset_name: str | None, *, num_resamples: int, seed: int = 0) -> TextScore:
    """Score the first of one or two runs on the same references; the second is what it is compared with."""
    paired, *others = runs
    preset = PRESETS[preset_name] if preset_name else preset_of(corpus)
    ours = _statistics(paired, preset) if num_resamples else {}
    theirs = _statistics(others[0], preset) if others and num_resamples else {}
    rates: dict[str, Rate] = dict(zip(RESAMPLED, (partial(bleu_of_statistics, smoothing=preset.smoothing), mean_rate), strict=True))
    return TextScore(
        paired=paired,
        corpus=corpus,
        scores=score_translations(paired.references, paired.hypotheses, preset),
        intervals={name: bootstrap(table, rates[name], num_resamples=num_resamples, seed=seed) for name, table in ours.items()},
        comparisons={name: compare(ours[name], table, rates[name], num_resamples=num_resamples, seed=seed) for name, table in theirs.items()},
        other_run=others[0] if others else None,
        problems=tuple(_empty_references(paired)),
    )


def _statistics(paired: PairedSentences, preset: TextPreset) -> dict[str, Statistics]:
    """What is resampled, by sentence."""
    hypotheses = prepare(paired.hypotheses, preset)
    rouge = [rouge_l(*pair, level=preset.level) for pair in zip(paired.references, hypotheses, strict=True)]
    bleu = bleu_statistics(paired.references, hypotheses, level=bleu_level(preset), tokenizer=preset.tokenizer)
    return dict(zip(RESAMPLED, (bleu.astype(float), mean_statistics(rouge)), strict=True))


def _empty_references(paired: PairedSentences) -> Iterator[Problem]:
    for pair in paired.pairs:
        if not pair.reference.strip():
            yield Problem(kind="empty_reference", text=f"the reference of {pair.name} is empty: whatever is said there counts as wrong")
