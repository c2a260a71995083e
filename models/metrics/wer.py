"""Word error rate over glosses, aligned as sclite and the published scorers do: substitution 4, insertion 3, deletion 3.

Ties in the back-trace, from the end of both sentences, prefer correct, substitution, insertion, deletion (metrics.md, section 1.2).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import CorpusError
from models.jit import jit

Operation = Literal["correct", "substitution", "insertion", "deletion"]
Tokens = Sequence[str]
Group = TypeVar("Group", bound=Hashable)

OPERATIONS: tuple[Operation, ...] = ("correct", "substitution", "insertion", "deletion")
CORRECT, SUBSTITUTION, INSERTION, DELETION = range(4)
SUBSTITUTION_COST, INSERTION_COST, DELETION_COST = 4, 3, 3
LENGTH_EDGES = (4, 8, 12, 16)  # about the fifths of the published corpora: 7 to 12 glosses a sentence, 28 at most


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """Counts of an alignment, or of many added up. Rates are in percent of the reference tokens."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    correct: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_tokens(self) -> int:
        return self.correct + self.substitutions + self.deletions

    @property
    def hypothesis_tokens(self) -> int:
        return self.correct + self.substitutions + self.insertions

    @property
    def rate(self) -> float:
        """Word error rate in percent. Raises CorpusError where there are no reference tokens."""
        return self.rate_of(self.errors)

    def rate_of(self, count: int) -> float:
        """`count`, say of insertions, in percent of the reference tokens. Raises CorpusError where there are none."""
        if not self.reference_tokens:
            raise CorpusError("the references hold no gloss at all, so there is no word error rate: check the split and the clean-up")
        return 100.0 * count / self.reference_tokens

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(
            substitutions=self.substitutions + other.substitutions,
            deletions=self.deletions + other.deletions,
            insertions=self.insertions + other.insertions,
            correct=self.correct + other.correct,
        )


class AlignedPair(NamedTuple):
    """One place of an alignment; the side that an insertion or a deletion lacks is None."""

    operation: Operation
    reference: str | None
    hypothesis: str | None


def word_errors(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> WordErrors:
    """Counts over a corpus, sums first: `.rate` is the corpus' WER. Sentences are lists of tokens, in the same order on both sides.

    Raises ValueError where the sides differ in number, or a sentence is a text that isn't split.
    """
    return _as_errors(_count_errors(references, hypotheses).sum(axis=0))


def errors_by_sentence(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> list[WordErrors]:
    """Counts of each sentence. Raises ValueError as `word_errors`."""
    return [_as_errors(counts) for counts in _count_errors(references, hypotheses)]


def errors_by_group(groups: Sequence[Group], references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> dict[Group, WordErrors]:
    """Counts of each group of sentences (each signer, say), in order of first appearance. Raises ValueError as `word_errors`."""
    table: dict[Group, WordErrors] = {}
    for group, errors in zip(groups, errors_by_sentence(references, hypotheses), strict=True):
        table[group] = table.get(group, WordErrors()) + errors
    return table


def errors_by_length(
    references: Sequence[Tokens], hypotheses: Sequence[Tokens], *, edges: Sequence[int] = LENGTH_EDGES
) -> dict[tuple[int, int | None], WordErrors]:
    """Counts of sentences by reference length: (shortest, longest) → counts, from short to long; the last bucket is open (None).

    `edges` are the longest lengths of the other buckets, ascending. Buckets without a sentence are left out. Raises ValueError as `word_errors`.
    """
    starts = (0, *(edge + 1 for edge in edges))
    table = errors_by_group([bisect_left(edges, len(reference)) for reference in references], references, hypotheses)
    return {(starts[bucket], edges[bucket] if bucket < len(edges) else None): table[bucket] for bucket in sorted(table)}


def confused_pairs(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> Counter[tuple[str, str]]:
    """How often (reference gloss, recognised gloss) were aligned as a substitution; `most_common(n)` lists the worst.

    Raises ValueError as `word_errors`.
    """
    pairs = chain.from_iterable(align(reference, hypothesis) for reference, hypothesis in zip(references, hypotheses, strict=True))
    return Counter((pair.reference, pair.hypothesis) for pair in pairs if pair.reference and pair.hypothesis and pair.operation == "substitution")


def align(reference: Tokens, hypothesis: Tokens) -> list[AlignedPair]:
    """The alignment of one sentence, from its beginning. Raises ValueError for a text that isn't split."""
    flat, _ = _encode([reference, hypothesis])
    operations = _align(flat[: len(reference)], flat[len(reference) :])
    left, right = iter(reference), iter(hypothesis)
    return [AlignedPair(OPERATIONS[code], None if code == INSERTION else next(left), None if code == DELETION else next(right)) for code in operations.tolist()]


def _as_errors(counts: NDArray[np.int64]) -> WordErrors:
    correct, substitutions, insertions, deletions = counts.tolist()
    return WordErrors(substitutions=substitutions, deletions=deletions, insertions=insertions, correct=correct)


def _count_errors(references: Sequence[Tokens], hypotheses: Sequence[Tokens]) -> NDArray[np.int64]:
    """(N, 4) counts in the order of OPERATIONS."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each a sentence")
    flat, starts = _encode([*references, *hypotheses])
    return _count_all(flat, starts)


def _encode(sentences: Iterable[Tokens]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All tokens as numbers in one row, and where each sentence starts (with the end of the last)."""
    ids: defaultdict[str, int] = defaultdict()
    ids.default_factory = ids.__len__  # a new token gets the next number
    flat: list[int] = []
    starts = [0]
    for sentence in sentences:
        if isinstance(sentence, str):
            raise ValueError(f"{sentence[:40]!r} is a text: split it into tokens first")
        flat.extend(map(ids.__getitem__, sentence))
        starts.append(len(flat))
    return np.asarray(flat, dtype=np.int64), np.asarray(starts, dtype=np.int64)


@jit
def _count_all(flat: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of sentence pairs (i, i + N) of the 2N sentences."""
    num_pairs = (len(starts) - 1) // 2
    counts = np.zeros((num_pairs, 4), np.int64)
    for pair in range(num_pairs):
        other = pair + num_pairs
        for operation in _align(flat[starts[pair] : starts[pair + 1]], flat[starts[other] : starts[other + 1]]):
            counts[pair, operation] += 1
    return counts


@jit
def _align(reference: NDArray[np.int64], hypothesis: NDArray[np.int64]) -> NDArray[np.int8]:
    costs = _cost_table(reference, hypothesis)
    operations = np.empty(len(reference) + len(hypothesis), np.int8)
    place, i, j = len(operations), len(reference), len(hypothesis)
    while i > 0 or j > 0:
        place -= 1
        if i > 0 and j > 0 and reference[i - 1] == hypothesis[j - 1] and costs[i, j] == costs[i - 1, j - 1]:
            operations[place], i, j = CORRECT, i - 1, j - 1
        elif i > 0 and j > 0 and costs[i, j] == costs[i - 1, j - 1] + SUBSTITUTION_COST:
            operations[place], i, j = SUBSTITUTION, i - 1, j - 1
        elif j > 0 and costs[i, j] == costs[i, j - 1] + INSERTION_COST:
            operations[place], j = INSERTION, j - 1
        else:
            operations[place], i = DELETION, i - 1
    return operations[place:]


@jit
def _cost_table(reference: NDArray[np.int64], hypothesis: NDArray[np.int64]) -> NDArray[np.int32]:
    """Lowest cost of aligning the first i reference with the first j hypothesis tokens (32 bits: the published 8 overflow)."""
    costs = np.empty((len(reference) + 1, len(hypothesis) + 1), np.int32)
    costs[0] = INSERTION_COST * np.arange(len(hypothesis) + 1)
    for i in range(1, len(reference) + 1):
        costs[i, 0] = DELETION_COST * i
        for j in range(1, len(hypothesis) + 1):
            diagonal = costs[i - 1, j - 1] + (0 if reference[i - 1] == hypothesis[j - 1] else SUBSTITUTION_COST)
            costs[i, j] = min(diagonal, costs[i, j - 1] + INSERTION_COST, costs[i - 1, j] + DELETION_COST)
    return costs
