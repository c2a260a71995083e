"""Clean-up of gloss sentences before scoring, as the published systems do it: of whole sentences on both sides of the score
(TwoStreamSLT and MSKA; metrics.md, section 1.5), or of a hypothesis token by token (the VAC family; section 1.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Final

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


def clean_tokens(tokens: Iterable[str]) -> tuple[str, ...]:
    """A hypothesis by the token rule of the VAC family, the same for every corpus; it can lose all of its tokens.

    Its rules for neighbouring words (spelled letters, WIE AUSSEHEN, repeats) never fire, as the published file has one token a line.
    """
    return tuple(cleaned for token in tokens if (cleaned := _clean_token(token)))


def stops_published_evaluation(sentence: str, corpus: str) -> bool:
    """Whether the published clean-up of Phoenix-2014 ends in an assertion here, at a mark that its rules have left over."""
    return corpus == "phoenix2014" and _holds_mark(_apply(PHOENIX2014, sentence.strip()))


def merge_adjacent(tokens: Iterable[str]) -> tuple[str, ...]:
    """Runs of equal tokens written once."""
    return tuple(token for token, _ in groupby(tokens))


def _clean_phoenix2014(sentence: str) -> str:
    """Marks that are left (the published rules never remove `__EPENTHESIS__` and stop the evaluation there) are dropped with their tokens."""
    tokens = _apply(PHOENIX2014, sentence.strip()).split()
    return " ".join(merge_adjacent(token for token in tokens if not _holds_mark(token)))


def _clean_phoenix2014t(sentence: str) -> str:
    return " ".join(merge_adjacent(_apply(PHOENIX2014T, sentence.strip()).split()))


@lru_cache(maxsize=1 << 16)
def _clean_token(token: str) -> str:
    """The token, or nothing where it is dropped."""
    cleaned = _apply(VAC_TOKEN, token)
    return "" if _holds_mark(cleaned) else cleaned


def _holds_mark(text: str) -> bool:
    return any(mark in text for mark in MARKS)


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

PREFIXES_AND_MARKS: Final = _rules(
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
)

SPACE_AND_PLURAL: Final = _rules((r"([A-Z][A-Z])RAUM", r"\1"), ("-PLUSPLUS", ""))

PHOENIX2014: Final = (
    *PREFIXES_AND_MARKS,
    *WEATHER_OUTLOOK,
    *_rules(("ZEIGEN ", "ZEIGEN-BILDSCHIRM "), ("ZEIGEN$", "ZEIGEN-BILDSCHIRM")),
    *SPELLED_LETTERS,
    *SPACE_AND_PLURAL,
    *REPEATED_WORDS,
)

VAC_TOKEN: Final = (*PREFIXES_AND_MARKS, *_rules(("ZEIGEN$", "ZEIGEN-BILDSCHIRM")), *SPACE_AND_PLURAL)

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
