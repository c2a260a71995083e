"""The beam search against its literal form, against exhaustive enumeration, and for what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding.beam_search import tf_beam_search
from tests.unit.models.decoding.oracles import best_labelling, tf_search

seeds = st.integers(0, 2**32 - 1)


def random_logits(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.from_numpy((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


@settings(max_examples=150, deadline=None)
@given(seed=seeds, num_steps=st.integers(0, 14), num_classes=st.integers(2, 7), beam_width=st.integers(1, 12), blank=st.integers(0, 1))
def test_search_equals_the_literal_procedure(seed: int, num_steps: int, num_classes: int, beam_width: int, blank: int) -> None:
    logits = random_logits(seed, 1, num_steps, num_classes, scale=1.0)
    [(ids, score)] = tf_beam_search(logits, [num_steps], beam_width=beam_width, blank=blank)
    wanted_ids, wanted_score = tf_search(logits[0].numpy(), beam_width, blank)
    assert ids == wanted_ids
    assert score == pytest.approx(wanted_score, abs=1e-5)


def test_a_leaf_wiped_by_its_parent_is_not_extended() -> None:
    """Clips on which TensorFlow's search differs from a textbook search; chance finds few of them."""
    found = 0
    for seed in range(40):
        logits = random_logits(seed, 1, 30, 6, scale=1.0)
        [(ids, score)] = tf_beam_search(logits, [30], beam_width=5)
        wanted_ids, wanted_score = tf_search(logits[0].numpy(), 5)
        assert ids == wanted_ids
        assert score == pytest.approx(wanted_score, abs=1e-5)
        found += abs(score - tf_search(logits[0].numpy(), 5, wipes=False)[1]) > 1e-3
    assert found >= 3


@settings(max_examples=60, deadline=None)
@given(seed=seeds, num_steps=st.integers(0, 4), num_classes=st.integers(2, 4))
def test_a_beam_that_never_fills_finds_the_best_labelling(seed: int, num_steps: int, num_classes: int) -> None:
    logits = random_logits(seed, 1, num_steps, num_classes)
    [(ids, score)] = tf_beam_search(logits, [num_steps], beam_width=200)
    wanted_ids, wanted_score = best_labelling(logits[0].numpy())
    assert ids == wanted_ids
    assert score == pytest.approx(wanted_score, abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), beam_width=st.integers(1, 8), more=st.integers(0, 4))
def test_padding_and_batch_mates_do_not_matter(seed: int, lengths: list[int], beam_width: int, more: int) -> None:
    logits = random_logits(seed, len(lengths), 9, 6)
    together = tf_beam_search(logits, lengths, beam_width=beam_width)
    padded = torch.full((len(lengths), 9 + more, 6), math.nan)
    for index, length in enumerate(lengths):
        padded[index, :length] = logits[index, :length]
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed))
    shuffled = tf_beam_search(padded[order], torch.tensor(lengths)[order], beam_width=beam_width, num_threads=3)
    assert shuffled == [together[index] for index in order.tolist()]
    alone = [tf_beam_search(logits[index : index + 1, :length], [length], beam_width=beam_width)[0] for index, length in enumerate(lengths)]
    assert [ids for ids, _ in alone] == [ids for ids, _ in together]


def test_a_large_vocabulary_equals_the_literal_procedure() -> None:
    logits = random_logits(7, 1, 12, 300)
    [(ids, score)] = tf_beam_search(logits, [12], beam_width=10)
    wanted_ids, wanted_score = tf_search(logits[0].numpy(), 10)
    assert ids == wanted_ids
    assert score == pytest.approx(wanted_score, abs=1e-4)


def test_impossible_classes_are_never_emitted() -> None:
    logits = torch.full((1, 3, 4), -math.inf)
    logits[0, :, 2] = 0.0
    assert tf_beam_search(logits, [3], beam_width=4) == [((2,), 0.0)]
    logits[0, 1, 0], logits[0, 1, 2] = 0.0, -math.inf
    assert tf_beam_search(logits, [3], beam_width=1) == [((2, 2), 0.0)]


def test_beam_one_is_not_greedy() -> None:
    """It keeps the prefix of the highest summed probability: two ways to emit 1 outweigh the likeliest path, all blank."""
    logits = torch.tensor([[[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]]).log()
    assert tf_beam_search(logits, [2], beam_width=10)[0][0] == (1,)
    assert tf_beam_search(logits, [2], beam_width=1)[0][0] == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_types_are_taken(dtype: torch.dtype) -> None:
    logits = random_logits(3, 2, 8, 5).to(dtype)
    assert tf_beam_search(logits, [8, 5], beam_width=3) == tf_beam_search(logits.float(), [8, 5], beam_width=3)


@pytest.mark.parametrize(
    ("logits", "lengths", "beam_width", "blank", "message"),
    [
        (torch.zeros(2, 3), [3, 3], 1, 0, "logits must be floating-point"),
        (torch.zeros(1, 3, 4, dtype=torch.int64), [3], 1, 0, "logits must be floating-point"),
        (torch.zeros(2, 3, 4), [3], 1, 0, "lengths"),
        (torch.zeros(1, 3, 4), [4], 1, 0, "lengths"),
        (torch.zeros(1, 3, 4), [-1], 1, 0, "lengths"),
        (torch.zeros(1, 3, 4), [3], 0, 0, "beam_width"),
        (torch.zeros(1, 3, 4), [3], 1, 4, "blank"),
        (torch.stack([torch.zeros(3, 4), torch.full((3, 4), math.nan)]), [3, 1], 1, 0, "clip 1 of the batch"),
    ],
)
def test_what_does_not_fit_is_refused(logits: Tensor, lengths: list[int], beam_width: int, blank: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf_beam_search(logits, lengths, beam_width=beam_width, blank=blank)


def test_an_empty_batch_gives_nothing() -> None:
    assert tf_beam_search(torch.zeros(0, 5, 4), [], beam_width=3) == []
