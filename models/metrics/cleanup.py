"""Clean-up of gloss sentences before scoring, as the published systems do it on references and hypotheses (metrics.md, section 1.5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from models.decoding.repeats import merge_repeats

Rule = tuple[re.Pattern[str], str]

MARKS = ("__LEFTHAND__", "__EPENTHESIS__", "__EMOTION__")  # annotation of what isn't a sign of the sentence


def clean(sentence: str, corpus: str, *, lower_cased: bool = False) -> str:
    """`sentence` (glosses separated by blanks) as it is scored on `corpus`, a key of CLEANUPS.

    `lower_cased` says that the vocabulary is (Phoenix-2014T and CSL-Daily as published): the sentence is upper-cased first, on both
    sides of the score. Raises ValueError for a corpus without rules.
    """
    if corpus not in CLEANUPS:
        raise ValueError(f"no clean-up rules for corpus {corpus!r}: there are {', '.join(CLEANUPS)}")
    return CLEANUPS[corpus](sentence.upper() if lower_cased else sentence)


def rules_of(corpus: str) -> str:
    """The key of CLEANUPS by which a corpus is scored: its own name, or "none" where nothing was published for it."""
    return corpus if corpus in CLEANUPS else "none"


def _clean_phoenix2014(sentence: str) -> str:
    """Marks that are left (the published rules never remove `__EPENTHESIS__` and stop the evaluation there) are dropped with their tokens."""
    tokens = _apply(PHOENIX2014, sentence.strip()).split()
    return " ".join(merge_repeats([token for token in tokens if not any(mark in token for mark in MARKS)]))


def _clean_phoenix2014t(sentence: str) -> str:
    return " ".join(merge_repeats(_apply(PHOENIX2014T, sentence.strip()).split()))


def _keep(sentence: str) -> str:
    return sentence


def _apply(rules: Sequence[Rule], sentence: str) -> str:
    for pattern, replacement in rules:
        sentence = pattern.sub(replacement, sentence)
    return sentence


def _rules(*rules: tuple[str, str]) -> tuple[Rule, ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


WEATHER_OUTLOOK: Final = _rules(("WIE AUSSEHEN", "WIE-AUSSEHEN"))

SPELLED_LETTERS: Final = _rules(
    (r"^([A-Z]) ([A-Z][+ ])", r"\1+\2"),
    (r"[ +]([A-Z]) ([A-Z]) ", r" \1+\2 "),
    *[(r"([ +][A-Z]) ([A-Z][ +])", r"\1+\2")] * 3,
    (r"([ +]SCH) ([A-Z][ +])", r"\1+\2"),
    (r"([ +]NN) ([A-Z][ +])", r"\1+\2"),
    (r"([ +][A-Z]) (NN[ +])", r"\1+\2"),
    (r"([ +][A-Z]) ([A-Z])$", r"\1+\2"),
)

REPEATED_WORDS: Final = _rules(
    (" +", " "),
    *[(r"(?<![\w-])(\b[A-Z]+(?![\w-])) \1(?![\w-])", r"\1")] * 4,
    (" +", " "),
)

PHOENIX2014: Final = (
    *_rules(
        ("loc-", ""),
        ("cl-", ""),
        ("qu-", ""),
        ("poss-", ""),
        ("lh-", ""),
        ("S0NNE", "SONNE"),
        ("HABEN2", "HABEN"),
        ("__EMOTION__", ""),
        ("__PU__", ""),
        ("__LEFTHAND__", ""),
    ),
    *WEATHER_OUTLOOK,
    *_rules(("ZEIGEN ", "ZEIGEN-BILDSCHIRM "), ("ZEIGEN$", "ZEIGEN-BILDSCHIRM")),
    *SPELLED_LETTERS,
    *_rules((r"([A-Z][A-Z])RAUM", r"\1"), ("-PLUSPLUS", "")),
    *REPEATED_WORDS,
)

PHOENIX2014T: Final = (
    *_rules(
        *((mark, "") for mark in MARKS),
        (r"\b__[^_ ]*__\b", ""),
        (r"\bloc-([^ ]*)\b", r"\1"),
        (r"\bcl-([^ ]*)\b", r"\1"),
        (r"\b([^ ]*)-PLUSPLUS\b", r"\1"),
        (r"\b([A-Z][A-Z]*)RAUM\b", r"\1"),
    ),
    *WEATHER_OUTLOOK,
    *SPELLED_LETTERS,
    *REPEATED_WORDS,
)

CLEANUPS: Final[dict[str, Callable[[str], str]]] = {
    "phoenix2014": _clean_phoenix2014,
    "phoenix2014t": _clean_phoenix2014t,
    "csl_daily": _keep,
    "none": _keep,
}
