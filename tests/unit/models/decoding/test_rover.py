"""ROVER: alignments and votes by hand, and what holds of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.rover import NOTHING, rover, slots

sentences = st.lists(st.integers(0, 4), max_size=7)


@pytest.mark.parametrize(
    ("hypotheses", "weights", "expected"),
    [
        ([[1, 2, 3], [1, 9, 3], [1, 2, 3]], [1, 1, 1], (1, 2, 3)),
        ([[1, 9, 3], [1, 2, 3], [1, 2, 3]], [1, 1, 1], (1, 2, 3)),
        ([[1, 9, 3], [1, 2, 3], [1, 2, 3]], [3, 1, 1], (1, 9, 3)),
        ([[1, 3], [1, 2, 3], [1, 2, 3]], [1, 1, 1], (1, 2, 3)),
        ([[1, 2, 3], [1, 3], [1, 3]], [1, 1, 1], (1, 3)),
        ([[1, 2], [3, 4]], [1, 1], (1, 2)),
        ([[1, 2], [3, 4]], [0.4, 0.6], (3, 4)),
        ([[], [5], [5]], [1, 1, 1], (5,)),
        ([[], []], [1, 1], ()),
        ([[7], [], []], [1, 1, 1], ()),
        ([[1, 2], [8, 8]], [1, 0], (1, 2)),
    ],
)
def test_by_hand(hypotheses: list[list[int]], weights: list[float], expected: tuple[int, ...]) -> None:
    assert rover(hypotheses, weights) == expected


@given(hypotheses=st.lists(sentences, min_size=1, max_size=4), which=st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_each_sentence_is_read_off_its_column_and_all_weight_on_one_gives_it(hypotheses: list[list[int]], which: int) -> None:
    network = slots(hypotheses)
    for system, sentence in enumerate(hypotheses):
        assert [word for word in network[:, system].tolist() if word != NOTHING] == sentence
    assert (network != NOTHING).any(1).all(), "no slot is empty"
    which %= len(hypotheses)
    assert rover(hypotheses, np.eye(len(hypotheses))[which].tolist()) == tuple(hypotheses[which])


@given(sentence=sentences, count=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_who_agrees_is_agreed_with(sentence: list[int], count: int) -> None:
    assert slots([sentence] * count).shape == (len(sentence), count)
    assert rover([sentence] * count, [1.0] * count) == tuple(sentence)


@pytest.mark.parametrize(("hypotheses", "weights"), [([], []), ([[1]], [1, 1]), ([[1], [2]], [0, 0]), ([[1], [2]], [2, -1])])
def test_a_callers_mistakes(hypotheses: list[list[int]], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="each needs one, and their sum must be above 0"):
        rover(hypotheses, weights)
