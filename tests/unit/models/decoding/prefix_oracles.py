"""Slow, literal forms of the prefix search, of what it must find, and of a back-off language model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.unit.models.decoding.oracles import collapse

ZERO = -3.4028235e38
Bonus = Callable[[tuple[int, ...], int], float]


def no_bonus(prefix: tuple[int, ...], token: int) -> float:
    return 0.0


def log_add(a: float, b: float) -> float:
    if min(a, b) <= ZERO:
        return max(a, b)
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


@dataclass(eq=False)
class Node:
    parent: Node | None
    token: int
    timestep: int = -1
    best: float = ZERO
    children: dict[int, Node] = field(default_factory=dict)
    alive: bool = True
    blank: float = ZERO
    emitted: float = ZERO
    new_blank: float = ZERO
    new_emitted: float = ZERO
    score: float = ZERO

    def path(self) -> list[Node]:
        return [] if self.parent is None else [*self.parent.path(), self]

    def ids(self) -> tuple[int, ...]:
        return tuple(node.token for node in self.path())

    def child(self, token: int, step: int, log_prob: float) -> Node:
        node = self.children.get(token)
        if node is None:
            node = self.children[token] = Node(self, token, step, log_prob)
        if log_prob > node.best:
            node.best, node.timestep = log_prob, step
        if not node.alive:
            node.alive, node.blank, node.emitted, node.new_blank, node.new_emitted = True, ZERO, ZERO, ZERO, ZERO
        return node

    def settle(self, found: list[Node]) -> None:
        if self.alive:
            self.blank, self.emitted, self.new_blank, self.new_emitted = self.new_blank, self.new_emitted, ZERO, ZERO
            self.score = log_add(self.blank, self.emitted)
            found.append(self)
        for node in self.children.values():
            node.settle(found)

    def drop(self) -> None:
        self.alive = False
        node: Node | None = self
        while node is not None and node.parent is not None and not node.alive and not node.children:
            del node.parent.children[node.token]
            node = node.parent


@dataclass(frozen=True, kw_only=True)
class Found:
    ids: tuple[int, ...]
    timesteps: tuple[int, ...]
    score: float


def prefix_search(
    log_probs_SV: NDArray, beam_width: int, *, top_n: int = 40, cutoff_prob: float = 1.0, blank: int = 0, bonus: Bonus = no_bonus
) -> tuple[list[Found], bool]:
    """The final beam by the steps of ctc_decoding.md, in double precision, and whether a tie made it arbitrary."""
    root = Node(None, -1)
    root.blank = root.score = 0.0
    beam, arbitrary = [root], False
    for step, log_probs in enumerate(np.asarray(log_probs_SV, dtype=np.float64)):
        for token in chosen(log_probs, top_n, cutoff_prob):
            log_prob = float(log_probs[token])
            for node in beam:
                if token == blank:
                    node.new_blank = log_add(node.new_blank, log_prob + node.score)
                    continue
                if token == node.token:
                    node.new_emitted = log_add(node.new_emitted, log_prob + node.emitted)
                before = node.blank if token == node.token else node.score
                child = node.child(token, step, log_prob)
                gained = log_prob + before + bonus(node.ids(), token) if before > ZERO else ZERO
                child.new_emitted = log_add(child.new_emitted, gained)
        found: list[Node] = []
        root.settle(found)
        found.sort(key=lambda node: (-node.score, node.token))
        beam = found[:beam_width]
        arbitrary |= len(found) > beam_width and found[beam_width - 1].score == found[beam_width].score
        for node in found[beam_width:]:
            node.drop()
    return [Found(ids=node.ids(), timesteps=tuple(entry.timestep for entry in node.path()), score=node.score) for node in beam], arbitrary


def chosen(log_probs: NDArray[np.float64], top_n: int, cutoff_prob: float) -> list[int]:
    order: list[int] = np.argsort(-log_probs, kind="stable").tolist()
    if cutoff_prob >= 1:
        return order[:top_n]
    kept, reached = [], 0.0
    for token in order[:top_n]:
        kept.append(token)
        reached = math.log(math.exp(reached) + math.exp(log_probs[token]))
        if reached >= cutoff_prob:
            break
    return kept


def all_labellings(log_probs_SV: NDArray, *, blank: int = 0, bonus: Bonus = no_bonus) -> dict[tuple[int, ...], float]:
    """Score of every label sequence, by enumeration of every path."""
    totals: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs_SV.shape[1]), repeat=len(log_probs_SV)):
        ids = collapse(path, blank)
        totals[ids] = float(np.logaddexp(totals.get(ids, -math.inf), log_probs_SV[range(len(path)), path].sum()))
    return {ids: total + sum(bonus(ids[:place], token) for place, token in enumerate(ids)) for ids, total in totals.items()}


@dataclass(frozen=True, kw_only=True)
class Ngrams:
    """A back-off model as in the textbook: log10 probabilities and back-off weights by n-gram."""

    log_probs: Mapping[tuple[str, ...], float]
    backoffs: Mapping[tuple[str, ...], float]

    @property
    def order(self) -> int:
        return max(map(len, self.log_probs))

    def log10(self, history: Sequence[str], word: str) -> float:
        history = tuple(history)[max(0, len(history) - self.order + 1) :]
        if (*history, word) in self.log_probs:
            return self.log_probs[(*history, word)]
        return self.backoffs.get(history, 0.0) + self.log10(history[1:], word)

    def arpa(self) -> str:
        lines = ["made up", "\\data\\", *(f"ngram {order}={sum(len(gram) == order for gram in self.log_probs)}" for order in range(1, self.order + 1))]
        for order in range(1, self.order + 1):
            lines += ["", f"\\{order}-grams:"]
            for gram, log_prob in self.log_probs.items():
                if len(gram) == order:
                    weight = f"\t{self.backoffs[gram]!r}" if gram in self.backoffs else ""
                    lines.append(f"{log_prob!r}\t{' '.join(gram)}{weight}")
        return "\n".join([*lines, "", "\\end\\", ""])


def random_ngrams(seed: int, words: Sequence[str], order: int = 3, *, density: float = 0.5) -> Ngrams:
    """A model of some n-grams of `words`, `<s>` and `<unk>`; each n-gram's history and shorter ending are in it."""
    draw = np.random.default_rng(seed)
    log_probs: dict[tuple[str, ...], float] = {(word,): round(-3 * draw.random(), 4) for word in ("<s>", "<unk>", "</s>", *words)}
    grams = [gram for gram in log_probs if gram != ("</s>",)]
    for _ in range(order - 1):
        grams = [(*gram, word) for gram in grams for word in words if (*gram[1:], word) in log_probs and draw.random() < density]
        log_probs.update({gram: round(-2 * draw.random(), 4) for gram in grams})
    backoffs = {gram: round(-float(draw.random()), 4) for gram in log_probs if len(gram) < order and draw.random() < 0.8}
    return Ngrams(log_probs=log_probs, backoffs=backoffs)
