"""Fusion of answers instead of posteriors (ROVER): what is searched are the weights of the members' votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.decoding.rover import NOTHING, slots, votes
from tune.problems import Answer, CountProblem, Counts
from tune.search import Weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Ballot:
    """The members' answers to a split's clips, aligned: slots (S, M) of each clip."""

    problem: CountProblem
    slots: Sequence[NDArray[np.int64]]
    _known: dict[tuple[int, Answer], int] = field(default_factory=dict)

    @classmethod
    def of(cls, problem: CountProblem, answers: Sequence[Sequence[Answer]]) -> Ballot:
        """answers: of each member to each clip, in the problem's order."""
        return cls(problem=problem, slots=[slots(list(clip)) for clip in zip(*answers, strict=True)])

    def counts(self, weights_RM: Weights) -> Counts:
        """Errors (R, N) of each clip under each weighting of the votes."""
        counts_RN = np.zeros((len(weights_RM), len(self.slots)), np.int64)
        for clip, slots_SM in enumerate(self.slots):
            chosen_XS, which_R = np.unique(votes(slots_SM, weights_RM), axis=0, return_inverse=True)
            counts_RN[:, clip] = self._errors(clip, [tuple(row[row != NOTHING].tolist()) for row in chosen_XS])[which_R.reshape(-1)]
        return counts_RN

    def loss(self, weights_RM: Weights) -> NDArray[np.float64]:
        """Error rate (R,) in percent."""
        return np.asarray(100.0 * self.counts(weights_RM).sum(1) / max(1, int(self.problem.totals_N.sum())))

    def _errors(self, clip: int, answers: Sequence[Answer]) -> Counts:
        new = [answer for answer in dict.fromkeys(answers) if (clip, answer) not in self._known]
        if new:
            self._known.update(zip(((clip, answer) for answer in new), self.problem.errors([clip] * len(new), new).tolist(), strict=True))
        return np.array([self._known[clip, answer] for answer in answers], np.int64)
