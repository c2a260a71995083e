"""N-gram language models of glosses from ARPA files, and hot words, made ready for the search.

Each gloss is a word of the model, spelled as in the vocabulary. A sentence starts after `<s>`, where the file has it; its end is not scored, as
ctcdecode's search doesn't.
"""

from __future__ import annotations

import gzip
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.decoding.fusion import NO_FUSION, NONE, ROOT, Fusion, no_model
from models.errors import LanguageModelError

UNKNOWN_LOG_PROB = -1000.0  # ctcdecode's
START, UNKNOWN = "<s>", "<unk>"
KENLM_MAGIC = b"mmap lm "
LN_10 = math.log(10.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """The n-grams of a file whose words are all glosses of one vocabulary (or `<s>`, `<unk>`).

    arrays: as in `Fusion`, logarithms natural and not weighted, `bias` 0 or, for a gloss that is unknown to a model without
    `<unk>`, its log-probability. unknown: the glosses that the file doesn't list. words: all words of the file that are glosses.
    """

    name: str
    order: int
    arrays: Fusion
    unknown: tuple[str, ...]
    words: tuple[str, ...]


def read_arpa(path: Path | str, labels: Sequence[str], *, blank: int = 0, unknown_log_prob: float | None = None) -> LanguageModel:
    """The n-gram model of an ARPA file, plain or `.gz`, for the vocabulary `labels` (token id → gloss).

    A gloss that the file doesn't list scores `unknown_log_prob` (natural), where None as the file's `<unk>`, without one -1000; a warning names
    such glosses. Raises LanguageModelError for a file that is missing, malformed or a KenLM binary.
    """
    path = Path(path)
    words: dict[str, int] = {}
    for token, label in enumerate(labels):
        if token != blank:
            words.setdefault(label, token)
    num_labels = len(labels)
    start, unknown = words.setdefault(START, num_labels), words.setdefault(UNKNOWN, num_labels + 1)
    nodes, log_probs, backoffs = _read_nodes(path, words)
    order = max(map(len, nodes))
    missing = tuple(label for label, token in words.items() if token < num_labels and (token,) not in nodes)
    fallback = unknown if unknown_log_prob is None and (unknown,) in nodes else NONE
    word_V = np.full(num_labels, NONE, np.int32)
    for token, label in enumerate(labels):
        if token != blank:
            word_V[token] = words[label] if (words[label],) in nodes else fallback
    bias_V = np.where(word_V == NONE, UNKNOWN_LOG_PROB if unknown_log_prob is None else unknown_log_prob, 0.0).astype(np.float32)
    arrays = _arrays(nodes, log_probs, backoffs, word_V, bias_V, nodes.get((start,), ROOT), order)
    if missing:
        how = "the model's <unk>" if fallback != NONE else f"a log-probability of {bias_V.min():g}"
        warnings.warn(f"{path} lacks {len(missing)} of {len(words) - 2} glosses ({_some(missing)}): each scores as {how}", stacklevel=2)
    known = tuple(label for label, token in words.items() if token < num_labels and (token,) in nodes)
    return LanguageModel(name=str(path), order=order, arrays=arrays, unknown=missing, words=known)


def fuse(
    labels: Sequence[str],
    *,
    model: LanguageModel | None = None,
    alpha: float = 0.0,
    beta: float = 0.0,
    hot_words: Mapping[str, float] | None = None,
) -> Fusion:
    """What the search adds for each gloss: alpha · ln P(gloss | glosses before it) + beta + the gloss' bonus of `hot_words`.

    Raises ValueError for weights that are not finite, for alpha without a model and for a hot word that is not among `labels`.
    """
    bonuses = dict(hot_words or {})
    unknown = [word for word in bonuses if word not in labels]
    if unknown:
        raise ValueError(f"hot words that are no glosses of the vocabulary: {_some(unknown)}")
    if not all(map(math.isfinite, (alpha, beta, *bonuses.values()))):
        raise ValueError(f"alpha {alpha}, beta {beta} and the bonuses of hot words must be finite")
    if alpha and model is None:
        raise ValueError(f"alpha {alpha} weighs a language model, and there is none: give its ARPA file too")
    bias_V = np.array([beta + bonuses.get(label, 0.0) for label in labels], np.float32)
    if model is None or not alpha:
        return no_model(bias_V, active=True) if bias_V.any() else NO_FUSION
    if len(model.arrays.word) != len(labels):
        raise ValueError(f"the language model was read for {len(model.arrays.word)} labels, not for {len(labels)}")
    return _weighted(model.arrays, alpha, bias_V, model.order)


def _weighted(arrays: Fusion, alpha: float, bias_V: NDArray[np.float32], order: int) -> Fusion:
    scale = np.float32(alpha)
    log_prob, backoff, bias = scale * arrays.log_prob, scale * arrays.backoff, scale * arrays.bias + bias_V
    highest = bias.max() + max(0.0, log_prob[1:].max(initial=0.0)) + (order - 1) * max(0.0, backoff.max()) + 1e-3  # more than rounding takes
    return arrays._replace(active=True, highest=np.float32(highest), bias=bias, log_prob=log_prob, backoff=backoff)


Gram = tuple[int, ...]


def _read_nodes(path: Path, words: Mapping[str, int]) -> tuple[dict[Gram, int], list[float], list[float]]:
    """N-grams that consist of `words`, numbered from 1, with natural log-probabilities and back-off weights; the empty one is 0."""
    nodes: dict[Gram, int] = {(): ROOT}
    log_probs, backoffs = [0.0], [0.0]
    for line, texts, log_prob, backoff in _read_grams(path):
        gram = tuple(words.get(text, NONE) for text in texts)
        if NONE in gram:
            continue
        if gram[:-1] not in nodes or (len(gram) > 1 and gram[-1:] not in nodes):
            raise LanguageModelError(f"{path}: line {line}: the n-gram {' '.join(texts)!r} has a history or a word that is not listed before it")
        if gram in nodes:
            raise LanguageModelError(f"{path}: line {line}: the n-gram {' '.join(texts)!r} is listed twice")
        nodes[gram] = len(nodes)
        log_probs.append(log_prob * LN_10)
        backoffs.append(backoff * LN_10)
    if len(nodes) == 1:
        raise LanguageModelError(f"{path}: none of its words is a gloss of the vocabulary: check the spelling (case counts)")
    return nodes, log_probs, backoffs


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
            head = file.read(len(KENLM_MAGIC))
        if head == KENLM_MAGIC:
            raise LanguageModelError(f"{path} is a KenLM binary: give the ARPA text file that it was built from")
        with gzip.open(path, "rt", encoding="utf-8") if head[:2] == b"\x1f\x8b" else path.open(encoding="utf-8") as lines:
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


def _arrays(
    nodes: Mapping[Gram, int],
    log_probs: Sequence[float],
    backoffs: Sequence[float],
    word_V: NDArray[np.int32],
    bias_V: NDArray[np.float32],
    start: int,
    order: int,
) -> Fusion:
    suffix, context = np.zeros(len(nodes), np.int32), np.zeros(len(nodes), np.int32)
    edges = []
    for gram, node in nodes.items():
        if gram:
            edges.append((nodes[gram[:-1]], gram[-1], node))
            suffix[node] = next(nodes[gram[skip:]] for skip in range(1, len(gram) + 1) if gram[skip:] in nodes)
            context[node] = node if len(gram) < order else suffix[node]
    parents, words, children = np.array(sorted(edges), np.int32).T
    return Fusion(
        active=False,
        start=int(context[start]),
        highest=np.float32(0.0),
        bias=bias_V,
        word=word_V,
        log_prob=np.array(log_probs, np.float32),
        backoff=np.array(backoffs, np.float32),
        suffix=suffix,
        context=context,
        child_start=np.searchsorted(parents, np.arange(len(nodes) + 1)).astype(np.int32),
        child_word=np.ascontiguousarray(words),
        child_node=np.ascontiguousarray(children),
    )


def _some(glosses: Sequence[str]) -> str:
    return ", ".join(glosses[:5]) + (", ..." if len(glosses) > 5 else "")
