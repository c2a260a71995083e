"""A stream gives what the whole clip gives, however it is cut; what it calls stable stays."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding.language_model import fuse
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search
from models.decoding.streaming import Partial, StreamingDecoder


def random_logits(seed: int, *shape: int, scale: float = 2.0) -> Tensor:
    return torch.from_numpy((scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_steps=st.integers(0, 40),
    num_classes=st.sampled_from([3, 8, 300]),
    cuts=st.lists(st.integers(0, 40), max_size=8),
    beam_width=st.integers(1, 10),
    scale=st.sampled_from([1.0, 4.0]),
    bonus=st.sampled_from([0.0, 1.0]),
)
def test_any_chunks_give_the_whole(seed: int, num_steps: int, num_classes: int, cuts: list[int], beam_width: int, scale: float, bonus: float) -> None:
    logits = random_logits(seed, num_steps, num_classes, scale=scale)
    search = PrefixSearch(beam_width=beam_width, fusion=fuse([str(token) for token in range(num_classes)], hot_words={"1": bonus}))
    decoder = StreamingDecoder(num_classes, search)
    partials = [decoder.feed(logits[start:end]) for start, end in itertools.pairwise(sorted({0, *(min(cut, num_steps) for cut in cuts), num_steps}))]
    final = decoder.finish()
    assert final == prefix_beam_search(logits[None], [num_steps], search=search)[0]
    for before, after in itertools.pairwise(partials):
        assert after.stable[: len(before.stable)] == before.stable
        assert after.stable_timesteps[: len(before.stable)] == before.stable_timesteps
    for partial in partials:
        for entry in final:
            assert entry.ids[: len(partial.stable)] == partial.stable
            assert entry.timesteps[: len(partial.stable)] == partial.stable_timesteps
    if partials:
        assert (*partials[-1].stable, *partials[-1].tentative) == final[0].ids
        assert (*partials[-1].stable_timesteps, *partials[-1].tentative_timesteps) == final[0].timesteps
        assert partials[-1].num_steps == num_steps


def test_steps_one_by_one_of_a_large_vocabulary_give_the_whole() -> None:
    logits = random_logits(5, 50, 1296, scale=3.0)
    decoder = StreamingDecoder(1296, PrefixSearch())
    for step in logits:
        decoder.feed(step[None])
    assert decoder.finish() == prefix_beam_search(logits[None], [50], search=PrefixSearch())[0]


def test_a_sure_stream_is_stable_and_takes_no_more_memory() -> None:
    decoder = StreamingDecoder(4, PrefixSearch(beam_width=5))
    chunk = 30.0 * torch.nn.functional.one_hot(torch.tensor([0, 1, 0, 2, 0, 3, 0]), 4).float()
    sizes = []
    for _ in range(60):
        partial = decoder.feed(chunk)
        sizes.append(sum(array.nbytes for array in decoder._tree))
    assert partial.stable[:6] == (1, 2, 3, 1, 2, 3)
    assert len(partial.tentative) <= 3
    assert partial.stable_timesteps[:4] == (1, 3, 5, 8)
    assert sizes[-1] <= 48 * (3 * 60 + 2 * 5 * 7) * 1.5


def test_nothing_is_known_before_the_first_chunk_or_after_an_empty_one() -> None:
    decoder = StreamingDecoder(3, PrefixSearch())
    nothing = Partial(stable=(), stable_timesteps=(), tentative=(), tentative_timesteps=(), num_steps=0)
    assert decoder.partial() == nothing
    assert decoder.feed(torch.zeros(0, 3)) == nothing
    assert [entry.ids for entry in decoder.finish()] == [()]


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    decoder = StreamingDecoder(3, PrefixSearch())
    before = decoder.feed(random_logits(1, 4, 3))
    for chunk, message in (
        (torch.zeros(2, 4), r"a chunk must be \(S, 3\)"),
        (torch.zeros(1, 2, 3), r"a chunk must be \(S, 3\)"),
        (torch.full((1, 3), math.nan), "are not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            decoder.feed(chunk)
    assert decoder.partial() == before
    decoder.finish()
    with pytest.raises(ValueError, match="the stream is finished"):
        decoder.feed(random_logits(1, 4, 3))
    with pytest.raises(ValueError, match="blank 3 is not one of 3 classes"):
        StreamingDecoder(3, PrefixSearch(blank=3))
