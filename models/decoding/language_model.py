"""N-gram language models of glosses from ARPA files, and hot words, made ready for the search.

Each gloss is a word of the model, spelled as in the vocabulary. A sentence starts after `<s>`, where the file has it; its end is not scored, as
ctcdecode's search doesn't.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.decoding.arpa import Grams, read_arpa
from models.decoding.fusion import NO_FUSION, NONE, ROOT, Fusion, no_model
from models.decoding.kenlm_binary import is_kenlm_binary, read_kenlm
from models.errors import LanguageModelError

UNKNOWN_LOG_PROB = -1000.0  # ctcdecode's
START, UNKNOWN = "<s>", "<unk>"


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


def read_language_model(path: Path | str, labels: Sequence[str], *, blank: int = 0, unknown_log_prob: float | None = None) -> LanguageModel:
    """The n-gram model of an ARPA file, plain or gzipped, or of a KenLM binary (with the package `kenlm`), for the vocabulary `labels` (token id → gloss).

    A gloss that the file doesn't list scores `unknown_log_prob` (natural), where None as the file's `<unk>`, without one -1000; a warning names
    such glosses. Raises LanguageModelError for a file that is missing or malformed, or that knows no gloss.
    """
    path = Path(path)
    words: dict[str, int] = {}
    for token, label in enumerate(labels):
        if token != blank:
            words.setdefault(label, token)
    glosses = [label for label in words if not (label.startswith("<") and label.endswith(">"))]
    start, unknown = words.setdefault(START, len(labels)), words.setdefault(UNKNOWN, len(labels) + 1)
    grams = read_kenlm(path, words) if is_kenlm_binary(path) else read_arpa(path, words)
    known, missing = (tuple(label for label in glosses if ((words[label],) in grams.nodes) is listed) for listed in (True, False))
    if not known:
        raise LanguageModelError(f"{path}: none of its words is a gloss of the vocabulary: check the spelling (case counts)")
    fallback = unknown if unknown_log_prob is None and (unknown,) in grams.nodes else NONE
    word_V = np.full(len(labels), NONE, np.int32)
    for token, label in enumerate(labels):
        if token != blank:
            word_V[token] = words[label] if (words[label],) in grams.nodes else fallback
    score = UNKNOWN_LOG_PROB if unknown_log_prob is None else unknown_log_prob
    if missing:
        how = "the model's <unk>" if fallback != NONE else f"a log-probability of {score:g}"
        warnings.warn(f"{path} lacks {len(missing)} of {len(glosses)} glosses ({_some(missing)}): each scores as {how}", stacklevel=2)
    bias_V = np.where(word_V == NONE, score, 0.0).astype(np.float32)
    order = max(map(len, grams.nodes))
    arrays = _arrays(grams, word_V, bias_V, grams.nodes.get((start,), ROOT), order)
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


def _arrays(grams: Grams, word_V: NDArray[np.int32], bias_V: NDArray[np.float32], start: int, order: int) -> Fusion:
    nodes = grams.nodes
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
        log_prob=np.array(grams.log_probs, np.float32),
        backoff=np.array(grams.backoffs, np.float32),
        suffix=suffix,
        context=context,
        child_start=np.searchsorted(parents, np.arange(len(nodes) + 1)).astype(np.int32),
        child_word=np.ascontiguousarray(words),
        child_node=np.ascontiguousarray(children),
    )


def _some(glosses: Sequence[str]) -> str:
    return ", ".join(glosses[:5]) + (", ..." if len(glosses) > 5 else "")
