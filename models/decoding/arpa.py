"""The n-grams of an ARPA file, plain or gzipped."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import LanguageModelError

LN_10 = math.log(10.0)
ROOT = 0
Gram = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Grams:
    """N-grams of word numbers, each numbered itself from 1 (the empty one is 0), with natural log-probabilities and back-off weights by number."""

    nodes: dict[Gram, int] = field(default_factory=lambda: {(): ROOT})
    log_probs: list[float] = field(default_factory=lambda: [0.0])
    backoffs: list[float] = field(default_factory=lambda: [0.0])

    def add(self, gram: Gram, log10_prob: float, log10_backoff: float) -> None:
        self.nodes[gram] = len(self.nodes)
        self.log_probs.append(log10_prob * LN_10)
        self.backoffs.append(log10_backoff * LN_10)


def read_arpa(path: Path, words: Mapping[str, int]) -> Grams:
    """The n-grams that consist of `words` (spelling → number). Raises LanguageModelError for a file that is missing or malformed."""
    grams = Grams()
    for line, texts, log_prob, backoff in _read_grams(path):
        if not all(text in words for text in texts):
            continue
        gram = tuple(words[text] for text in texts)
        if gram[:-1] not in grams.nodes or (len(gram) > 1 and gram[-1:] not in grams.nodes):
            raise LanguageModelError(f"{path}: line {line}: the n-gram {' '.join(texts)!r} has a history or a word that is not listed before it")
        if gram in grams.nodes:
            raise LanguageModelError(f"{path}: line {line}: the n-gram {' '.join(texts)!r} is listed twice")
        grams.add(gram, log_prob, backoff)
    return grams


def _read_grams(path: Path) -> Iterator[tuple[int, list[str], float, float]]:
    """Line number, words, log10 probability and log10 back-off weight of each n-gram of an ARPA file, in its order."""
    order, ended = 0, False
    for number, line in _read_lines(path):
        text = line.strip()
        if text == "\\end\\":
            ended = True
            break
        if text.startswith("\\") and text.endswith("-grams:") and text[1:-7].isdigit():
            if int(text[1:-7]) != order + 1:
                raise LanguageModelError(f"{path}: line {number}: {text} where \\{order + 1}-grams: was expected")
            order += 1
        elif text and order:
            fields = text.split()
            if not order + 1 <= len(fields) <= order + 2:
                raise LanguageModelError(f"{path}: line {number}: {len(fields)} fields where a {order}-gram has {order + 1} or {order + 2}: {text[:60]!r}")
            yield number, fields[1 : order + 1], _number(path, number, fields[0]), _number(path, number, fields[-1]) if len(fields) > order + 1 else 0.0
    if not ended:
        raise LanguageModelError(f"{path} is no whole ARPA file: " + ("it ends without \\end\\" if order else "it has no section \\1-grams:"))


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            head = file.read(2)
        with gzip.open(path, "rt", encoding="utf-8") if head == b"\x1f\x8b" else path.open(encoding="utf-8") as lines:
            yield from enumerate(lines, start=1)
    except (OSError, EOFError) as error:
        raise LanguageModelError(f"{path} can't be read: {getattr(error, 'strerror', None) or error}") from None
    except UnicodeDecodeError:
        raise LanguageModelError(f"{path} is not UTF-8 text") from None


def _number(path: Path, line: int, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isnan(value) or value == math.inf:
        raise LanguageModelError(f"{path}: line {line}: {text!r} is no logarithm")
    return max(value, -1e6)
