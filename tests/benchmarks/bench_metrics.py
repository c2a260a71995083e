"""Word error rate against jiwer on as many sentences as a few test sets, and against its literal form in plain Python."""

from __future__ import annotations

import time
from collections.abc import Callable

import jiwer
import numpy as np

from models.metrics.wer import WordErrors, word_errors
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from tests.unit.models.metrics.oracles import slow_word_errors

PAIRS, FEW_PAIRS = 10_000, 400  # plain Python is slow
GLOSSES, VOCABULARY, ERROR_SHARE = (3, 20), 1_000, 0.3  # as in the published corpora


def measure(bench: Bench) -> list[Figure]:
    """CPU time of the other over that of ours, from the same texts, one thread; all count S, D and I (jiwer keeps its alignments, too)."""
    rounds, pairs = (2, FEW_PAIRS) if bench.quick else (8, PAIRS)
    references, hypotheses = _texts(pairs)

    def theirs() -> jiwer.WordOutput:
        return jiwer.process_words(references, hypotheses)

    def ours(count: int = pairs) -> WordErrors:
        return word_errors([text.split() for text in references[:count]], [text.split() for text in hypotheses[:count]])

    def plain() -> WordErrors:
        sides = zip(references[:FEW_PAIRS], hypotheses[:FEW_PAIRS], strict=True)
        return sum((slow_word_errors(reference.split(), hypothesis.split()) for reference, hypothesis in sides), WordErrors())

    found, own = theirs(), ours()
    assert found.hits + found.substitutions + found.deletions == own.reference_tokens
    assert found.substitutions + found.deletions + found.insertions <= own.errors  # its costs are 1, 1, 1
    assert plain() == ours(FEW_PAIRS)
    return [
        _figure(f"word error rate of {pairs:,} pairs, jiwer / ours, CPU time", theirs, ours, rounds, pairs),
        _figure("word error rate, plain Python / ours, CPU time", plain, lambda: ours(FEW_PAIRS), rounds, FEW_PAIRS),
    ]


def _texts(pairs: int) -> tuple[list[str], list[str]]:
    """Random references, and hypotheses in which a share of the glosses is replaced, lost or doubled."""
    draw = np.random.default_rng(0)
    references = [[f"GLOSS{gloss}" for gloss in draw.integers(0, VOCABULARY, draw.integers(*GLOSSES))] for _ in range(pairs)]
    hypotheses = [[word for gloss in sentence for word in _corrupted(gloss, draw)] for sentence in references]
    return [" ".join(sentence) for sentence in references], [" ".join(sentence) for sentence in hypotheses]


def _corrupted(gloss: str, draw: np.random.Generator) -> list[str]:
    if draw.random() >= ERROR_SHARE:
        return [gloss]
    other = f"GLOSS{draw.integers(0, VOCABULARY)}"
    return ([other], [], [gloss, other])[draw.integers(0, 3)]


def _figure(name: str, other: Callable[[], object], own: Callable[[], object], rounds: int, count: int) -> Figure:
    seconds = [(_seconds(other), _seconds(own)) for _ in range(rounds)]
    own_seconds = sorted(pair[1] for pair in seconds)[rounds // 2]
    return Figure(name=name, rounds=tuple(slow / fast for slow, fast in seconds), note=f"{count / own_seconds:,.0f} sentences/s")


def _seconds(function: Callable[[], object]) -> float:
    """Seconds of CPU time per call, over enough calls to last 50 ms: other work on the machine disturbs it less."""
    calls, began = 0, time.process_time()
    while (taken := time.process_time() - began) < 0.05:
        function()
        calls += 1
    return taken / calls
