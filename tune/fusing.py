"""The fusion itself: weights chosen on one split by a search, reported once on another, with what the choice itself is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from models.batch import ENSEMBLE
from models.metrics.significance import Comparison, Interval, Statistics, bootstrap, compare
from tune.problems import Answer, CountProblem, Problem
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
    the best on dev (A) with the ensemble (B). voted: the other way to fuse, to compare with; it isn't what the bundle does, and None for texts, whose
    tokens no vote aligns, and where nothing was searched.
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
    voted: Voted | None
    subsets: tuple[Subset, ...]

    def record(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def fuse_members(dev: Problem, test: Problem, search: Search | None, *, cost: Cost, num_folds: int = 5, seed: int = 0) -> Fusion:
    """Choose weights on `dev` alone, and report `test` once. seed: of folds, bootstrap and test; the search has its own.

    The search decodes sentences greedily, and ranks texts that members found. Where, decoded as the bundle will, a member or equal weights beat its
    choice on dev, these are chosen. Without a search all members weigh alike, as published ensembles do, and nothing is chosen.
    """
    equal = np.full(len(dev.members), 1 / len(dev.members))
    weightings = _weightings(dev.members, search(dev.loss, len(dev.members)) if search else equal)
    dev_answers = {name: dev.answers(weighting) for name, weighting in weightings.items()}
    dev_found = {name: dev.statistics(answers) for name, answers in dev_answers.items()}
    losses = {name: dev.score(dev.figure(found)) for name, found in dev_found.items()}
    winner = min(losses, key=lambda name: losses[name]) if search else ENSEMBLE  # the first of equal ones, which is the search's
    weights = weightings[ENSEMBLE] = weightings[winner]
    dev_found[ENSEMBLE] = dev_found[winner]
    best = min(dev.members, key=lambda name: losses[name])
    held = cross_validated(dev, search, num_folds, seed) if search else None
    subsets = priced(dev, cost)
    test_answers = {name: test.answers(weighting) for name, weighting in weightings.items()}
    test_found = {name: test.statistics(answers) for name, answers in test_answers.items()}
    ours = test_found[ENSEMBLE]
    return Fusion(
        metric=dev.metric,
        weights=dict(zip(dev.members, weights.tolist(), strict=True)),
        best_member=best,
        searched=dev.score(float(dev.loss(weights[None])[0])),
        held=held,
        dev={name: dev.figure(found) for name, found in dev_found.items()},
        test={name: test.figure(found) for name, found in test_found.items()},
        test_interval=bootstrap(ours, test.rate, seed=seed),
        comparison=compare(test_found[best], ours, test.rate, seed=seed),
        voted=_voted(dev, test, {"dev": dev_answers, "test": test_answers}, ours, search, seed) if search else None,
        subsets=subsets,
    )


def _voted(dev: Problem, test: Problem, answers: Mapping[str, Mapping[str, list[Answer]]], ours: Statistics, search: Search, seed: int) -> Voted | None:
    """The members' answers put to a vote, where they can be aligned. answers: by split, of each member; ours: the ensemble's statistics on test."""
    if not (isinstance(dev, CountProblem) and isinstance(test, CountProblem)):
        return None
    ballot = Ballot.of(dev, [answers["dev"][name] for name in dev.members])
    weights = search(ballot.loss, len(dev.members))
    counts_N = Ballot.of(test, [answers["test"][name] for name in test.members]).counts(weights[None])[0]
    found = test.statistics_of(counts_N)
    return Voted(
        weights=dict(zip(dev.members, weights.tolist(), strict=True)),
        dev=dev.figure(dev.statistics_of(ballot.counts(weights[None])[0])),
        test=test.figure(found),
        comparison=compare(found, ours, test.rate, seed=seed),
    )


def best_member(problem: Problem, clips: np.ndarray | None = None) -> int:
    """Place of the member with the lowest loss, the first of equal ones."""
    return int(problem.loss(np.eye(len(problem.members)), clips).argmin())


def cross_validated(problem: Problem, search: Search, num_folds: int, seed: int) -> Held | None:
    """What choosing weights on this split is worth on clips that it doesn't see; the same for choosing a member."""
    num_clips, num_members = len(problem.names), len(problem.members)
    if num_clips < 2 or num_folds < 2:
        return None
    sums: list[Statistics] = []
    split = list(folds(num_clips, num_folds, seed))
    for seen, held_out in split:
        weights = search(partial(problem.loss, clips=seen), num_members)
        alone = np.eye(num_members)[best_member(problem, seen)]
        sums.append(problem.sums(np.stack([weights, alone]), held_out))
    fused, single = problem.rate(np.sum(sums, axis=0)).tolist()
    return Held(num_folds=len(split), fused=fused, best_member=single)


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
