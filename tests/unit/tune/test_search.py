"""Searches find the optimum of problems whose optimum is known, stay on the simplex, and repeat themselves."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tune.search import Search, Weights, chosen, coordinate_search, corners, draws, folds, greedy_selection, optuna_search, pareto, random_search

OPTIMUM = np.array([0.62, 0.3, 0.08])
SEARCHES: dict[str, Search] = {
    "random": partial(random_search, trials=3000, seed=1),
    "coordinate": partial(coordinate_search, trials=3000),
    "optuna": partial(optuna_search, trials=150, seed=1),
}


def bowl(weights_RM: Weights) -> Weights:
    return np.asarray(100 * ((weights_RM - OPTIMUM[: weights_RM.shape[1]]) ** 2).sum(1))


@pytest.mark.parametrize("name", SEARCHES)
def test_the_known_optimum_is_found(name: str) -> None:
    found = SEARCHES[name](bowl, 3)
    assert np.abs(found - OPTIMUM).max() < (0.011 if name == "coordinate" else 0.03)
    assert np.array_equal(found, SEARCHES[name](bowl, 3))


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("num_members", [1, 2, 5])
def test_what_is_tried_and_found_lies_on_the_simplex(name: str, num_members: int) -> None:
    tried: list[Weights] = []

    def loss(weights_RM: Weights) -> Weights:
        tried.append(weights_RM)
        return np.asarray(np.sin(20 * weights_RM).sum(1))

    found = SEARCHES[name](loss, num_members)
    for weights in (*np.concatenate(tried), found):
        assert weights.min() >= 0
        assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("name", SEARCHES)
def test_it_is_never_worse_than_a_member_or_equal_weights(name: str) -> None:
    def jagged(weights_RM: Weights) -> Weights:
        return np.asarray(np.where(weights_RM[:, 1] == 1, 0.0, 5.0))

    assert SEARCHES[name](jagged, 3).tolist() == [0, 1, 0]


def test_ties_go_to_the_most_even_weighting() -> None:
    assert SEARCHES["coordinate"](lambda weights: np.zeros(len(weights)), 4).tolist() == [0.25] * 4
    assert chosen(np.array([[1.0, 0.0], [0.4, 0.6], [0.0, 1.0]]), np.array([2.0, 2.0, 3.0])) == 1


def test_the_budget_is_kept() -> None:
    spent = 0

    def counting(weights_RM: Weights) -> Weights:
        nonlocal spent
        spent += len(weights_RM)
        return bowl(weights_RM)

    random_search(counting, 3, trials=300, seed=0)
    assert spent == 300


def test_more_draws_begin_with_the_same() -> None:
    assert np.array_equal(draws(4, 50, 3)[:20], draws(4, 20, 3))
    assert not np.array_equal(draws(4, 20, 3), draws(4, 20, 4))
    assert corners(2).tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


def test_greedy_selection_adds_what_helps_most_and_the_cheaper_of_equals() -> None:
    """Member 2 is the best alone, 0 completes it, 1 and 3 add nothing, of which 3 is cheaper."""

    def loss(weights_RM: Weights) -> Weights:
        return np.asarray(np.where(weights_RM[:, 2] > 0, 10.0, 20.0) - np.where((weights_RM[:, 0] > 0) & (weights_RM[:, 2] > 0), 4.0, 0.0))

    path = greedy_selection(loss, 4, partial(coordinate_search, trials=200), lambda subset: sum((5, 9, 1, 2)[member] for member in subset))
    assert [selection.members for selection in path] == [(2,), (2, 0), (2, 0, 3), (2, 0, 3, 1)]
    assert [selection.loss for selection in path] == [10, 6, 6, 6]
    assert path[1].weights[1] == path[1].weights[3] == 0


@given(num_clips=st.integers(2, 40), num_folds=st.integers(2, 7), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_each_clip_is_held_out_once(num_clips: int, num_folds: int, seed: int) -> None:
    held = []
    for seen, held_out in folds(num_clips, num_folds, seed):
        assert sorted([*seen, *held_out]) == list(range(num_clips))
        assert len(seen)
        held += held_out.tolist()
    assert sorted(held) == list(range(num_clips))


def test_pareto() -> None:
    assert pareto([5, 4, 4, 6], [1, 2, 3, 1]) == [True, True, False, False]
    assert pareto([5, 5], [1, 1]) == [True, True]
