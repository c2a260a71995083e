"""The candidates of a step: what a full sort would choose, and the same from a device as from the CPU's loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding import decode, decode_n_best
from models.decoding.candidates import Candidates, Scale, select_candidates, select_on_device
from models.decoding.decode import _from_device
from models.decoding.on_device import search_on_device
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search

seeds = st.integers(0, 2**32 - 1)


def random_logits(seed: int, *shape: int, ties: bool = False) -> Tensor:
    values = 3 * np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy((values.round() if ties else values).astype(np.float32))


@settings(max_examples=80, deadline=None)
@given(seed=seeds, num_classes=st.integers(1, 700), top_n=st.integers(1, 60), ties=st.booleans())
def test_the_largest_are_chosen_and_of_equal_ones_the_lower_tokens(seed: int, num_classes: int, top_n: int, ties: bool) -> None:
    values = random_logits(seed, 3, num_classes, ties=ties).numpy()
    values[0, ::2] = -math.inf
    values[1, ::3] = -0.0
    found = select_candidates(values, scale="log_probabilities", top_n=top_n)
    for row, tokens, log_probs in zip(values, found.tokens, found.log_probs, strict=True):
        wanted = sorted(np.argsort(-row, kind="stable")[:top_n].tolist())
        assert tokens.tolist() == wanted
        assert np.array_equal(log_probs, row[wanted])
    assert found.counts.tolist() == [min(top_n, num_classes)] * 3


def test_logarithms_are_those_of_ctcdecode() -> None:
    values = np.array([[0.5, 0.0, 0.25]], np.float32)
    assert select_candidates(values, scale="probabilities", top_n=3).log_probs[0] == pytest.approx([math.log(0.5), -87.33654, math.log(0.25)])
    found = select_candidates(np.array([[200.0, -math.inf, 0.0]], np.float32), np.array([200.0]), scale="logits", top_n=3)
    assert found.log_probs[0] == pytest.approx([0.0, -87.33654, -87.33654])


def equal(ours: Candidates, others: Candidates) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(ours, others, strict=True))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, top_n=st.integers(1, 30), ties=st.booleans(), cutoff_prob=st.sampled_from([1.0, 0.5]))
def test_the_form_for_devices_chooses_the_same(seed: int, top_n: int, ties: bool, cutoff_prob: float) -> None:
    logits, lengths = random_logits(seed, 2, 6, 25, ties=ties), [6, 3]
    normalisers = torch.logsumexp(logits, -1).double().numpy()
    scales: list[tuple[Scale, Tensor]] = [("logits", logits), ("probabilities", logits.softmax(-1)), ("log_probabilities", logits.log_softmax(-1))]
    for scale, values in scales:
        clips, _ = select_on_device(values, lengths, scale=scale, top_n=top_n, cutoff_prob=cutoff_prob)
        for index, length in enumerate(lengths):
            row = values[index, :length].numpy()
            wanted = select_candidates(row, normalisers[index, :length], scale=scale, top_n=top_n, cutoff_prob=cutoff_prob)
            assert equal(clips[index], wanted)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, merge_repeats=st.booleans())
def test_the_search_for_devices_finds_the_same(seed: int, merge_repeats: bool) -> None:
    logits, lengths, search = random_logits(seed, 3, 9, 12), [9, 0, 5], PrefixSearch(beam_width=6, cutoff_top_n=7)
    wanted = decode_n_best(logits, lengths, num_hypotheses=4, search=search, merge_repeats=merge_repeats)
    findings = search_on_device(logits, lengths, num_hypotheses=4, search=search)
    assert [_from_device(finding, merge_repeats=merge_repeats) for finding in findings] == wanted


def test_broken_logits_of_a_device_are_refused() -> None:
    logits = random_logits(0, 2, 4, 5)
    logits[1, 2] = math.nan
    with pytest.raises(ValueError, match="clip 1 of the batch are not finite"):
        search_on_device(logits, [4, 4], num_hypotheses=1, search=PrefixSearch())
    search_on_device(logits, [4, 2], num_hypotheses=1, search=PrefixSearch())
    assert search_on_device(logits[:0], [], num_hypotheses=1, search=PrefixSearch()) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the search of logits on a GPU is not tested here")
def test_logits_on_a_gpu_give_the_answers_of_the_cpu() -> None:
    logits, lengths = random_logits(0, 4, 60, 1296), [60, 41, 1, 0]
    wanted = prefix_beam_search(logits, lengths, search=PrefixSearch())
    found = decode_n_best(logits.cuda(), lengths, num_hypotheses=10, merge_repeats=False)
    assert [[entry.ids for entry in ranking] for ranking in found] == [[entry.ids for entry in ranking] for ranking in wanted]
    for ours, others in zip(found, wanted, strict=True):
        assert [entry.score for entry in ours] == pytest.approx([entry.score for entry in others], abs=1e-3)
    best = decode(logits, lengths, beam_width=10, method="prefix_beam")
    for ours_best, other in zip(decode(logits.cuda(), lengths, beam_width=10, method="prefix_beam"), best, strict=True):
        assert (ours_best.ids, ours_best.spans) == (other.ids, other.spans)
        assert ours_best.confidences == pytest.approx(other.confidences, abs=1e-4)
