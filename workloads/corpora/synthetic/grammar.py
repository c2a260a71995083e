"""The sentence grammar: clauses of word classes, each with its spoken-language form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from workloads.corpora.synthetic.lexicon import Sign


class Clause(NamedTuple):
    """Word classes in the order of signing, and the text with the words' places in it."""

    kinds: tuple[str, ...]
    text: str


CLAUSES = (
    Clause(("time", "weather"), "{0} gibt es {1}"),
    Clause(("place", "weather"), "{0} gibt es {1}"),
    Clause(("time", "place", "weather"), "{0} gibt es {1} {2}"),
    Clause(("time", "weather", "weather"), "{0} gibt es {1} und {2}"),
    Clause(("place", "weather", "weather"), "{0} gibt es {1} und {2}"),
    Clause(("time", "place", "weather", "weather"), "{0} gibt es {1} {2} und {3}"),
    Clause(("place", "place", "weather"), "{0} und {1} gibt es {2}"),
    Clause(("weather", "negation"), "{0} gibt es {1}"),
    Clause(("time", "weather", "negation"), "{1} gibt es {0} {2}"),
    Clause(("place", "weather", "negation"), "{1} gibt es {0} {2}"),
    Clause(("time", "place", "weather", "negation"), "{2} gibt es {0} {1} {3}"),
    Clause(("weather", "degree"), "es gibt {1} {0}"),
    Clause(("time", "weather", "degree"), "{0} gibt es {2} {1}"),
    Clause(("time", "place", "weather", "degree"), "{0} gibt es {1} {3} {2}"),
    Clause(("person", "verb"), "{0} {1}"),
    Clause(("time", "person", "verb"), "{0} {2} {1}"),
    Clause(("person", "place", "verb"), "{0} {2} {1}"),
    Clause(("time", "person", "place", "verb"), "{0} {3} {1} {2}"),
    Clause(("person", "verb", "negation"), "{0} {1} {2}"),
    Clause(("time", "person", "verb", "negation"), "{0} {2} {1} {3}"),
    Clause(("time", "person", "place", "verb", "negation"), "{0} {3} {1} {4} {2}"),
    Clause(("person", "person", "verb"), "{0} {2} und {1} auch"),
    Clause(("thing", "person", "action"), "{1} {2} {0}"),
    Clause(("time", "thing", "person", "action"), "{0} {3} {2} {1}"),
    Clause(("time", "place", "thing", "person", "action"), "{0} {4} {3} {1} {2}"),
    Clause(("thing", "person", "action", "negation"), "{1} {2} {0} {3}"),
    Clause(("thing", "adjective"), "{0} ist {1}"),
    Clause(("person", "adjective"), "{0} ist {1}"),
    Clause(("time", "person", "adjective"), "{0} ist {1} {2}"),
    Clause(("place", "thing", "adjective"), "{1} ist {0} {2}"),
    Clause(("person", "verb", "question"), "{2} {1} {0}"),
    Clause(("thing", "person", "action", "question"), "{3} {2} {1} {0}"),
)


class Grammar:
    """Makes sentences of a lexicon. A word class that no clause can place stands alone."""

    def __init__(self, lexicon: Sequence[Sign]) -> None:
        self.signs: dict[str, list[Sign]] = {}
        for sign in lexicon:
            self.signs.setdefault(sign.kind, []).append(sign)
        possible = [clause for clause in CLAUSES if all(len(self.signs.get(kind, ())) >= count for kind, count in Counter(clause.kinds).items())]
        placed = {kind for clause in possible for kind in clause.kinds}
        self.clauses = [*possible, *(Clause((kind,), "{0}") for kind in self.signs if kind not in placed)]
        self.single = [Clause((kind,), "{0}") for kind in self.signs]

    def draw(self, length: int, rng: np.random.Generator) -> tuple[tuple[str, ...], str]:
        """A random sentence of `length` glosses and its text. Two equal glosses may meet where clauses join."""
        glosses: list[str] = []
        texts: list[str] = []
        while len(glosses) < length:
            clause = self._clause(length - len(glosses), rng)
            signs = self._fill(clause, rng)
            glosses += [sign.gloss for sign in signs]
            texts.append(clause.text.format(*(sign.word for sign in signs)))
        return tuple(glosses), " und ".join(texts) + " ."

    def _clause(self, room: int, rng: np.random.Generator) -> Clause:
        fitting = [clause for clause in self.clauses if len(clause.kinds) == room or len(clause.kinds) <= room - 2]
        choice = fitting or self.single
        return choice[int(rng.integers(len(choice)))]

    def _fill(self, clause: Clause, rng: np.random.Generator) -> list[Sign]:
        """A sign for each class of the clause, none twice."""
        chosen: list[Sign] = []
        for kind in clause.kinds:
            free = [sign for sign in self.signs[kind] if sign not in chosen]
            chosen.append(free[int(rng.integers(len(free)))])
        return chosen
