"""Searches of fusion weights on the simplex. A loss maps weightings (R, M) to figures (R,), lower is better; it is never asked for gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]
Loss = Callable[[Weights], NDArray[np.float64]]
Search = Callable[[Loss, int], Weights]  # loss, members → the weighting chosen (M,)

TIE = 1e-9  # losses this near are equal
BLOCK = 256  # weightings that are drawn and scored at a time
FINE = 0.01  # last step of the coordinate search
ASK = 16  # weightings that Optuna proposes at a time
SMALLEST, LARGEST = 1e-3, 10.0


def corners(num_members: int) -> Weights:
    """Each member alone, then all alike (M + 1, M)."""
    return np.concatenate([np.eye(num_members), np.full((1, num_members), 1 / num_members)])


def draws(num_members: int, count: int, seed: int) -> Weights:
    """Weightings (count, M), uniform on the simplex; the same seed begins with the same ones."""
    return np.random.default_rng(seed).dirichlet(np.ones(num_members), size=count)


def chosen(weights_RM: Weights, losses_R: NDArray[np.float64]) -> int:
    """Place of the lowest loss; of equal ones the nearest to equal weights, which the split has talked into least."""
    uneven_R = ((weights_RM - 1 / weights_RM.shape[1]) ** 2).sum(1)
    tied = np.flatnonzero(losses_R <= losses_R.min() + TIE)
    return int(tied[np.argmin(uneven_R[tied])])


def random_search(loss: Loss, num_members: int, *, trials: int, seed: int) -> Weights:
    """The best of the corners, equal weights and draws, `trials` of them in all (the corners are always tried)."""
    tried = np.concatenate([corners(num_members), draws(num_members, max(0, trials - num_members - 1), seed)])
    losses = np.concatenate([loss(tried[start : start + BLOCK]) for start in range(0, len(tried), BLOCK)])
    return np.asarray(tried[chosen(tried, losses)])


def coordinate_search(loss: Loss, num_members: int, *, trials: int) -> Weights:
    """From the best corner or equal weights, one member's share after the other to its best value, the others keeping their proportions.

    Shares are tried in steps of a tenth, then of a hundredth around what was found. Ends when a round changes nothing, or after `trials`.
    """
    start = corners(num_members)
    losses = loss(start)
    at = chosen(start, losses)
    best, lowest, spent = start[at], losses[at], len(start)
    if num_members == 1:
        return np.asarray(best)
    for step in (0.1, FINE):
        moved = True
        while moved and spent < trials:
            moved = False
            for member in range(num_members):
                line = _line(best, member, step)
                found = loss(line)
                spent += len(line)
                place = chosen(line, found)
                if found[place] < lowest - TIE:
                    best, lowest, moved = line[place], found[place], True
    return np.asarray(best)


def optuna_search(loss: Loss, num_members: int, *, trials: int, seed: int) -> Weights:
    """The best of the corners, equal weights and what Optuna's TPE proposes, `trials` of them in all, ASK at a time (the corners are always tried).

    What TPE sees are positive numbers, searched by their logarithm, which are scaled to a sum of 1.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=ASK))
    ranges = {str(member): optuna.distributions.FloatDistribution(SMALLEST, LARGEST, log=True) for member in range(num_members)}
    tried = corners(num_members)
    losses = loss(tried)
    while num_members > 1 and len(tried) < trials:
        asked = [study.ask(dict(ranges)) for _ in range(min(ASK, trials - len(tried)))]
        sizes_RM = np.array([[trial.params[name] for name in ranges] for trial in asked])
        weights_RM = sizes_RM / sizes_RM.sum(1, keepdims=True)
        found = loss(weights_RM)
        for trial, value in zip(asked, found.tolist(), strict=True):
            study.tell(trial, value)
        tried, losses = np.concatenate([tried, weights_RM]), np.concatenate([losses, found])
    return np.asarray(tried[chosen(tried, losses)])


def _line(weights_M: Weights, member: int, step: float) -> Weights:
    """Weightings with other shares of one member: all in tenths, or those near the present one in finer steps."""
    shares = np.linspace(0, 1, 11) if step > FINE else np.clip(weights_M[member] + step * np.arange(-10, 11), 0, 1)
    others = np.where(np.arange(len(weights_M)) == member, 0.0, weights_M)
    if not others.sum() > 0:
        others = (np.arange(len(weights_M)) != member).astype(np.float64)
    line = (1 - shares)[:, None] * others / others.sum()
    line[:, member] = shares
    return np.asarray(line)


def on_subset(loss: Loss, subset: Sequence[int], num_members: int) -> Loss:
    """The loss of weightings of `subset` alone; the other members have none."""

    def restricted(weights_RK: Weights) -> NDArray[np.float64]:
        return loss(spread(weights_RK, subset, num_members))

    return restricted


def spread(weights_RK: Weights, subset: Sequence[int], num_members: int) -> Weights:
    """Weightings (R, M) of all members from those of a subset (R, K)."""
    weights_RM = np.zeros((len(weights_RK), num_members))
    weights_RM[:, list(subset)] = weights_RK
    return weights_RM


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Members that were chosen, in the order in which they were; their weights (M,), 0 for the others; and the loss on the split of the choice."""

    members: tuple[int, ...]
    weights: tuple[float, ...]
    loss: float


def greedy_selection(loss: Loss, num_members: int, search: Search, cost: Callable[[Sequence[int]], float]) -> list[Selection]:
    """The best member, then with it the one that helps most, and so on to all: M selections. Of equal losses the cheapest by `cost` counts."""
    path: list[Selection] = []
    while len(path) < num_members:
        before = path[-1].members if path else ()
        tried = [_selection(loss, num_members, search, (*before, member)) for member in range(num_members) if member not in before]
        lowest = min(selection.loss for selection in tried)
        path.append(min((each for each in tried if each.loss <= lowest + TIE), key=lambda each: (cost(each.members), each.members)))
    return path


def _selection(loss: Loss, num_members: int, search: Search, subset: tuple[int, ...]) -> Selection:
    restricted = on_subset(loss, subset, num_members)
    weights = spread(search(restricted, len(subset))[None], subset, num_members)
    return Selection(members=subset, weights=tuple(weights[0].tolist()), loss=float(loss(weights)[0]))


def folds(num_clips: int, num_folds: int, seed: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(chosen on, held out) places of clips; each clip is held out once. Fewer folds where there are fewer clips."""
    order = np.random.default_rng(seed).permutation(num_clips)
    for held_out in np.array_split(order, min(num_folds, num_clips)):
        yield np.setdiff1d(order, held_out), np.sort(held_out)


def pareto(losses: Sequence[float], costs: Sequence[float]) -> list[bool]:
    """Which points no other beats: none is at least as good in both and better in one."""
    points = list(zip(losses, costs, strict=True))
    return [not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points) for point in points]
