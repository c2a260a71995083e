"""Translations scored by named presets: the published convention of each corpus, and sacrebleu's own for comparison with other fields."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.metrics.bleu import BleuScores, Level, Smoothing, Tokenizer, corpus_bleu
from models.metrics.chrf import ChrfScore, corpus_chrf
from models.metrics.rouge import corpus_rouge_l


@dataclass(frozen=True, kw_only=True)
class TextPreset:
    """How texts become tokens. level: of ROUGE-L, and of BLEU where `tokenizer` is "none".

    split_full_stop: a "." glued to the last word of a hypothesis becomes a token of its own, as in the Phoenix-2014T references.
    """

    name: str
    description: str
    level: Level
    tokenizer: Tokenizer = "none"
    smoothing: Smoothing = "none"
    split_full_stop: bool = False


PRESETS: Final[dict[str, TextPreset]] = {
    preset.name: preset
    for preset in (
        TextPreset(
            name="phoenix2014t",
            description="words as they stand, a glued final full stop split off, no smoothing (TwoStreamSLT, MSKA)",
            level="word",
            split_full_stop=True,
        ),
        TextPreset(name="csl_daily", description="characters, no smoothing (TwoStreamSLT, MSKA)", level="char"),
        TextPreset(name="13a", description="sacrebleu's default: 13a tokens, exp smoothing", level="word", tokenizer="13a", smoothing="exp"),
        TextPreset(name="zh", description="sacrebleu for Chinese: zh tokens, exp smoothing", level="char", tokenizer="zh", smoothing="exp"),
    )
}


@dataclass(frozen=True, kw_only=True)
class TranslationScores:
    """Corpus scores, 0 to 100. ROUGE-L is the published one, whose weight of recall depends on the sentence."""

    preset: TextPreset
    bleu: BleuScores
    rouge_l: float
    chrf: ChrfScore


def preset_of(corpus: str) -> TextPreset:
    """The published convention of a corpus, or sacrebleu's default where none was published."""
    return PRESETS.get(corpus, PRESETS["13a"])


def score_translations(references: Sequence[str], hypotheses: Sequence[str], preset: TextPreset) -> TranslationScores:
    """BLEU-1 to 4, ROUGE-L and chrF. Raises CorpusError where there is no sentence, ValueError where the sides differ in number."""
    texts = prepare(hypotheses, preset)
    return TranslationScores(
        preset=preset,
        bleu=corpus_bleu(references, texts, level=bleu_level(preset), tokenizer=preset.tokenizer, smoothing=preset.smoothing),
        rouge_l=corpus_rouge_l(references, texts, level=preset.level),
        chrf=corpus_chrf(references, texts),
    )


def prepare(hypotheses: Sequence[str], preset: TextPreset) -> list[str]:
    """Hypotheses as the preset compares them."""
    return [split_full_stop(text) for text in hypotheses] if preset.split_full_stop else list(hypotheses)


def bleu_level(preset: TextPreset) -> Level:
    """sacrebleu's own tokenizers take the text as it is."""
    return preset.level if preset.tokenizer == "none" else "word"


def split_full_stop(text: str) -> str:
    """`text` with a blank before a final "." that is glued to a word."""
    return re.sub(r"(?<=\S)\.$", " .", text.rstrip())
