"""The prefix search against its literal form, against exhaustive enumeration, and for what must not matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding.candidates import select_candidates
from models.decoding.emissions import read_emissions
from models.decoding.prefix_beam import PrefixHypothesis, PrefixSearch, prefix_beam_search
from models.decoding.prefix_state import new_beam, new_pool, new_tree
from tests.unit.models.decoding.oracles import log_softmax
from tests.unit.models.decoding.prefix_oracles import Found, all_labellings, prefix_search

seeds = st.integers(0, 2**32 - 1)
WIDE = 4000


def random_logits(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.from_numpy((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


def same(ours: list[PrefixHypothesis], wanted: list[Found], *, timesteps: bool) -> None:
    possible = [entry for entry in wanted if entry.score > -1e38]
    assert [entry.ids for entry in ours if entry.score > -1e38] == [entry.ids for entry in possible]
    assert [entry.score for entry in ours[: len(possible)]] == pytest.approx([entry.score for entry in possible], abs=1e-4)
    if timesteps:
        assert [entry.timesteps for entry in ours[: len(possible)]] == [entry.timesteps for entry in possible]


@settings(max_examples=150, deadline=None)
@given(
    seed=seeds,
    num_steps=st.integers(0, 16),
    num_classes=st.integers(2, 9),
    beam_width=st.integers(1, 12),
    top_n=st.integers(1, 10),
    cutoff_prob=st.sampled_from([1.0, 1.0, 0.3, 0.6, 0.99]),
    blank=st.integers(0, 1),
)
def test_search_equals_the_literal_procedure(seed: int, num_steps: int, num_classes: int, beam_width: int, top_n: int, cutoff_prob: float, blank: int) -> None:
    logits = random_logits(seed, 1, num_steps, num_classes, scale=1.5)
    cut = {"top_n": top_n, "cutoff_prob": cutoff_prob, "blank": blank}
    wanted, arbitrary = prefix_search(log_softmax(logits[0].numpy()), beam_width, **cut)  # type: ignore[arg-type]
    search = PrefixSearch(beam_width=beam_width, cutoff_top_n=top_n, cutoff_prob=cutoff_prob, blank=blank)
    [ours] = prefix_beam_search(logits, [num_steps], search=search)
    same(ours, wanted, timesteps=not arbitrary)


def test_a_large_vocabulary_and_a_long_clip_equal_the_literal_procedure() -> None:
    for seed, num_steps, num_classes, scale in ((1, 20, 400, 2.0), (2, 80, 12, 1.0), (3, 60, 30, 3.0)):
        logits = random_logits(seed, 1, num_steps, num_classes, scale=scale)
        wanted, arbitrary = prefix_search(log_softmax(logits[0].numpy()), 10)
        assert not arbitrary
        same(prefix_beam_search(logits, [num_steps], search=PrefixSearch())[0], wanted, timesteps=True)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, num_steps=st.integers(0, 5), num_classes=st.integers(2, 4))
def test_a_beam_that_never_fills_finds_every_labelling(seed: int, num_steps: int, num_classes: int) -> None:
    logits = random_logits(seed, 1, num_steps, num_classes)
    wanted = all_labellings(log_softmax(logits[0].numpy()))
    [found] = prefix_beam_search(logits, [num_steps], search=PrefixSearch(beam_width=WIDE))
    possible = {entry.ids: entry.score for entry in found if entry.score > -1e38}
    assert possible == pytest.approx(wanted, abs=1e-4)
    assert found[0].ids == max(wanted, key=lambda ids: wanted[ids])
    assert [entry.score for entry in found] == sorted((entry.score for entry in found), reverse=True)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, num_steps=st.integers(3, 8))
def test_scores_of_a_wide_beam_are_the_ctc_loss(seed: int, num_steps: int) -> None:
    logits = random_logits(seed, 1, num_steps, 4)
    [found] = prefix_beam_search(logits, [num_steps], search=PrefixSearch(beam_width=WIDE))
    for entry in found[:8]:
        target = torch.tensor([entry.ids], dtype=torch.int64).reshape(1, -1)
        lengths = torch.tensor([num_steps]), torch.tensor([len(entry.ids)])
        loss = torch.nn.functional.ctc_loss(logits[0].log_softmax(-1)[:, None], target, *lengths, reduction="sum")
        assert -entry.score == pytest.approx(float(loss), abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5), beam_width=st.integers(1, 8), more=st.integers(0, 4))
def test_padding_and_batch_mates_do_not_matter(seed: int, lengths: list[int], beam_width: int, more: int) -> None:
    logits, search = random_logits(seed, len(lengths), 9, 6), PrefixSearch(beam_width=beam_width, cutoff_top_n=4)
    together = prefix_beam_search(logits, lengths, search=search)
    padded = torch.full((len(lengths), 9 + more, 6), math.nan)
    for index, length in enumerate(lengths):
        padded[index, :length] = logits[index, :length]
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed))
    shuffled = prefix_beam_search(padded[order], torch.tensor(lengths)[order], search=search, num_threads=3)
    assert shuffled == [together[index] for index in order.tolist()]


def test_the_blank_has_no_exemption_from_the_cut() -> None:
    """With the blank among the three likeliest, 1 can be repeated over it; cut away, it can't be used at all."""
    logits = torch.tensor([[[0.0, 5.0, 1.0, 0.5], [0.9, 4.0, 1.0, 0.5], [0.0, 5.0, 1.0, 0.5]]])
    [with_blank] = prefix_beam_search(logits, [3], search=PrefixSearch(beam_width=WIDE, cutoff_top_n=3))
    [without] = prefix_beam_search(logits, [3], search=PrefixSearch(beam_width=WIDE, cutoff_top_n=2))
    assert (1, 1) in {entry.ids for entry in with_blank if entry.score > -1e38}
    assert (1, 1) not in {entry.ids for entry in without if entry.score > -1e38}


def test_time_steps_need_not_rise_and_move_to_the_likelier_step() -> None:
    probabilities = torch.tensor([[[0.1, 0.5, 0.4], [0.1, 0.3, 0.6], [0.2, 0.7, 0.1]]])
    [found] = prefix_beam_search(probabilities.log(), [3], search=PrefixSearch(beam_width=50))
    times = {entry.ids: entry.timesteps for entry in found}
    assert times[(1,)] == (2,)  # while the empty prefix is in the beam, its child's step is the likeliest so far
    assert times[(1, 2)] == (2, 1)


def test_an_empty_clip_has_one_empty_hypothesis() -> None:
    [found] = prefix_beam_search(torch.zeros(1, 4, 3), [0], search=PrefixSearch())
    assert found == [PrefixHypothesis(ids=(), timesteps=(), score=0.0, bonus=0.0)]
    assert prefix_beam_search(torch.zeros(0, 4, 3), [], search=PrefixSearch()) == []


def test_memory_is_as_stated() -> None:
    search, num_steps, num_classes = PrefixSearch(beam_width=10, cutoff_top_n=40), 60, 1296
    kept = [*new_tree(1 + 10 * num_steps), *new_beam(10, num_classes), *new_pool(10)]
    logits = random_logits(0, 1, num_steps, num_classes)
    candidates = select_candidates(*read_emissions(logits, [num_steps]).clip(0), scale="logits", top_n=40)
    used = sum(array.nbytes for array in (*kept, *candidates))
    assert used <= search.num_bytes(num_steps, num_classes) < used + 24 * num_classes
    assert search.num_bytes(num_steps, num_classes) < 90_000
    double = PrefixSearch(beam_width=20, cutoff_top_n=40).num_bytes(num_steps, num_classes) - search.num_bytes(num_steps, num_classes)
    assert double == 48 * 10 * num_steps + 60 * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beam_width": 0}, "beam_width and cutoff_top_n must be at least 1"),
        ({"cutoff_top_n": 0}, "beam_width and cutoff_top_n must be at least 1"),
        ({"cutoff_prob": -0.1}, "cutoff_prob must be"),
        ({"cutoff_prob": math.nan}, "cutoff_prob must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrefixSearch(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("logits", "lengths", "blank", "message"),
    [
        (torch.zeros(2, 3), [3, 3], 0, "logits must be floating-point"),
        (torch.zeros(1, 3, 4), [4], 0, "lengths"),
        (torch.zeros(1, 3, 4), [3], 4, "blank"),
        (torch.stack([torch.zeros(3, 4), torch.full((3, 4), math.nan)]), [3, 1], 0, "clip 1 of the batch"),
    ],
)
def test_what_does_not_fit_is_refused(logits: Tensor, lengths: list[int], blank: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prefix_beam_search(logits, lengths, search=PrefixSearch(blank=blank))
