"""The fusion itself: weights chosen on one split by a search, reported once on another, with what the choice itself is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from models.batch import ENSEMBLE
from models.metrics.significance import Comparison, Interval, Statistics, bootstrap, compare, mean_rate, wer_rate
from tune.problems import Answer, Counts, Problem
from tune.search import Search, Weights, coordinate_search, folds, greedy_selection, pareto
from tune.voting import Ballot

EQUAL = "equal weights"
SUBSET_TRIALS = 500  # weightings of each subset that the selection looks at

Cost = Callable[[Sequence[str]], tuple[int, float]]  # members → parameters, latency in ms


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Some members with the weights found for them. score: on dev, in the search's own decoding; latency_ms: of one clip, one network after the other."""

    weights: Mapping[str, float]
    score: float
    parameters: int
    latency_ms: float
    on_front: bool


@dataclass(frozen=True, kw_only=True)
class Held:
    """Nested cross-validation over dev: scores of clips that the choice had not seen, by weights, or a member, chosen on the other folds."""

    num_folds: int
    fused: float
    best_member: float


@dataclass(frozen=True, kw_only=True)
class Voted:
    """ROVER: the members' answers put to a vote, with weights that the same search chose on dev. comparison: on test, of the vote (A) with the ensemble (B)."""

    weights: Mapping[str, float]
    dev: float
    test: float
    comparison: Comparison


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Weights that sum to 1, and figures in percent of `metric`. searched: dev as the search saw it; held: None where dev has one clip.

    dev, test: by what answers (`ensemble`, `equal weights`, each member), decoded as the bundle will. comparison: on test, of the member that is
    the best on dev (A) with the ensemble (B). voted: the other way to fuse, to compare with; it isn't what the bundle does.
    """

    metric: str
    weights: Mapping[str, float]
    best_member: str
    searched: float
    held: Held | None
    dev: Mapping[str, float]
    test: Mapping[str, float]
    test_interval: Interval
    comparison: Comparison
    voted: Voted
    subsets: tuple[Subset, ...]

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def fuse_members(dev: Problem, test: Problem, search: Search, *, cost: Cost, num_folds: int = 5, seed: int = 0) -> Fusion:
    """Choose weights on `dev` alone, and report `test` once. seed: of folds, bootstrap and test; the search has its own.

    The search decodes sentences greedily. Where, decoded as the bundle will, a member or equal weights beat its choice on dev, these are chosen.
    """
    weightings = _weightings(dev.members, search(dev.loss, len(dev.members)))
    dev_answers = {name: dev.answers(weighting) for name, weighting in weightings.items()}
    dev_counts = _counts(dev, dev_answers)
    winner = min(dev_counts, key=lambda name: int(dev_counts[name].sum()))  # the first of equal ones, which is the search's
    weights = weightings[ENSEMBLE] = weightings[winner]
    dev_counts[ENSEMBLE] = dev_counts[winner]
    best = min(dev.members, key=lambda name: int(dev_counts[name].sum()))
    held = cross_validated(dev, search, num_folds, seed)
    subsets = priced(dev, cost)
    dev_ballot = Ballot.of(dev, [dev_answers[name] for name in dev.members])
    vote_weights = search(dev_ballot.loss, len(dev.members))
    test_answers = {name: test.answers(weighting) for name, weighting in weightings.items()}
    test_counts = _counts(test, test_answers)
    votes_N = Ballot.of(test, [test_answers[name] for name in test.members]).counts(vote_weights[None])[0]
    rate = wer_rate if test.metric == "wer" else mean_rate
    ours, other, voted = (_statistics(test, counts) for counts in (test_counts[ENSEMBLE], test_counts[best], votes_N))
    return Fusion(
        metric=dev.metric,
        weights=dict(zip(dev.members, weights.tolist(), strict=True)),
        best_member=best,
        searched=dev.score(float(dev.loss(weights[None])[0])),
        held=held,
        dev={name: _figure(dev, counts) for name, counts in dev_counts.items()},
        test={name: _figure(test, counts) for name, counts in test_counts.items()},
        test_interval=bootstrap(ours, rate, seed=seed),
        comparison=compare(other, ours, rate, seed=seed),
        voted=Voted(
            weights=dict(zip(dev.members, vote_weights.tolist(), strict=True)),
            dev=_figure(dev, dev_ballot.counts(vote_weights[None])[0]),
            test=_figure(test, votes_N),
            comparison=compare(voted, ours, rate, seed=seed),
        ),
        subsets=subsets,
    )


def _counts(problem: Problem, answers: Mapping[str, Sequence[Answer]]) -> dict[str, Counts]:
    return {name: problem.errors(range(len(problem.names)), given) for name, given in answers.items()}


def best_member(problem: Problem, clips: np.ndarray | None = None) -> int:
    """Place of the member with the lowest loss, the first of equal ones."""
    return int(problem.loss(np.eye(len(problem.members)), clips).argmin())


def cross_validated(problem: Problem, search: Search, num_folds: int, seed: int) -> Held | None:
    """What choosing weights on this split is worth on clips that it doesn't see; the same for choosing a member."""
    num_clips, num_members = len(problem.names), len(problem.members)
    if num_clips < 2 or num_folds < 2:
        return None
    fused, single = 0, 0
    split = list(folds(num_clips, num_folds, seed))
    for seen, held_out in split:
        weights = search(partial(problem.loss, clips=seen), num_members)
        alone = np.eye(num_members)[best_member(problem, seen)]
        counts = problem.counts(np.stack([weights, alone]))[:, held_out].sum(1)
        fused, single = fused + int(counts[0]), single + int(counts[1])
    total = max(1, int(problem.totals_N.sum()))
    return Held(num_folds=len(split), fused=problem.score(100 * fused / total), best_member=problem.score(100 * single / total))


def priced(problem: Problem, cost: Cost) -> tuple[Subset, ...]:
    """Each member alone, and the members that the greedy selection adds one by one, with what they cost; the cheapest first."""
    members, num_members = problem.members, len(problem.members)
    search = partial(coordinate_search, trials=SUBSET_TRIALS)
    path = greedy_selection(problem.loss, num_members, search, lambda subset: cost([members[member] for member in subset])[0])
    found: dict[frozenset[int], tuple[Sequence[float], float]] = {}
    for member, loss in enumerate(problem.loss(np.eye(num_members)).tolist()):
        found[frozenset([member])] = (np.eye(num_members)[member].tolist(), loss)
    for selection in path[1:]:
        found[frozenset(selection.members)] = (selection.weights, selection.loss)
    prices = [cost([members[member] for member in sorted(subset)]) for subset in found]
    front = pareto([loss for _, loss in found.values()], [latency for _, latency in prices])
    subsets = [
        Subset(
            weights={members[member]: weights[member] for member in sorted(subset)},
            score=problem.score(loss),
            parameters=parameters,
            latency_ms=latency,
            on_front=kept,
        )
        for (subset, (weights, loss)), (parameters, latency), kept in zip(found.items(), prices, front, strict=True)
    ]
    return tuple(sorted(subsets, key=lambda subset: (subset.latency_ms, len(subset.weights))))


def _weightings(members: Sequence[str], weights_M: Weights) -> dict[str, Weights]:
    """What is compared, the search's choice first."""
    alone = np.eye(len(members))
    return {ENSEMBLE: weights_M, EQUAL: np.full(len(members), 1 / len(members)), **dict(zip(members, alone, strict=True))}


def _figure(problem: Problem, counts_N: Counts) -> float:
    return problem.score(100.0 * float(counts_N.sum()) / max(1, int(problem.totals_N.sum())))


def _statistics(problem: Problem, counts_N: Counts) -> Statistics:
    """Sums (N, 2) for the significance tests: errors of reference glosses, or 100 for a hit."""
    shown = counts_N if problem.metric == "wer" else 100 * (1 - counts_N)
    return np.stack([shown, problem.totals_N], axis=-1).astype(np.float64)
