"""Hypotheses: ids, spans and confidences, by beam and by greedy decoding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.decoding import Hypothesis, Method, decode, decode_n_best
from models.decoding.alignment import align_glosses
from models.decoding.greedy import greedy_search
from models.decoding.language_model import fuse
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search
from models.decoding.repeats import merge_repeats
from tests.unit.models.decoding.oracles import collapse, likeliest_path, log_softmax


def logits_of(path: list[int], num_classes: int = 4, *, sharpness: float = 6.0) -> Tensor:
    """Logits (1, S, V) that clearly say `path`."""
    return sharpness * torch.nn.functional.one_hot(torch.tensor([path]), num_classes).float()


METHODS: list[Method] = ["beam", "prefix_beam", "greedy"]


@pytest.mark.parametrize("method", METHODS)
def test_spans_and_confidences_mark_the_emitting_steps(method: Method) -> None:
    [hypothesis] = decode(logits_of([0, 1, 1, 0, 0, 2, 3, 0]), [8], beam_width=5, method=method)
    assert hypothesis.ids == (1, 2, 3)
    assert hypothesis.spans == ((1, 3), (5, 6), (6, 7))
    certainty = float(logits_of([1]).softmax(-1)[0, 0, 1])
    assert hypothesis.confidences == pytest.approx((certainty,) * 3)
    assert len(hypothesis) == 3


@pytest.mark.parametrize("method", METHODS)
def test_repeats_are_merged_unless_told(method: Method) -> None:
    logits = logits_of([1, 0, 1, 2])
    [merged] = decode(logits, [4], beam_width=5, method=method)
    [whole] = decode(logits, [4], beam_width=5, method=method, merge_repeats=False)
    assert (merged.ids, whole.ids) == ((1, 2), (1, 1, 2))
    assert whole.spans == ((0, 1), (2, 3), (3, 4))
    assert merged.score == whole.score


def test_a_clip_of_blanks_or_of_no_steps_has_no_glosses() -> None:
    hypotheses = decode(logits_of([0, 0]).expand(2, 2, 4), [2, 0], beam_width=3)
    assert [hypothesis.ids for hypothesis in hypotheses] == [(), ()]
    assert hypotheses[1] == Hypothesis(ids=(), score=0.0, spans=(), confidences=())


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="is none of 'beam', 'prefix_beam', 'greedy'"):
        decode(logits_of([1]), [1], beam_width=1, method="best")  # type: ignore[arg-type]


def test_settings_of_the_prefix_search_are_not_ignored_in_silence() -> None:
    with pytest.warns(UserWarning, match="method 'greedy' ignores cutoff_top_n and cutoff_prob"):
        decode(logits_of([1]), [1], beam_width=1, method="greedy", cutoff_top_n=3)
    with pytest.raises(ValueError, match="method 'beam' knows no language model or hot words"):
        decode(logits_of([1]), [1], beam_width=1, fusion=fuse(list("_abc"), beta=1.0))


def test_n_best_are_those_of_the_search_with_spans() -> None:
    logits = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32))
    search = PrefixSearch(beam_width=6, cutoff_top_n=4)
    wanted = prefix_beam_search(logits, [7, 0], search=search)
    found = decode_n_best(logits, [7, 0], num_hypotheses=3, search=search, merge_repeats=False)
    assert [[(entry.ids, entry.score) for entry in ranking] for ranking in found] == [[(entry.ids, entry.score) for entry in ranking[:3]] for ranking in wanted]
    assert [len(ranking) for ranking in found] == [3, 1]
    assert all(len(entry.spans) == len(entry.ids) for entry in found[0])
    best = decode(logits, [7, 0], beam_width=6, method="prefix_beam", cutoff_top_n=4, merge_repeats=False)
    assert best == [ranking[0] for ranking in found]
    with pytest.raises(ValueError, match="num_hypotheses must be at least 1"):
        decode_n_best(logits, [7, 0], num_hypotheses=0)


def test_a_hypothesis_needs_a_span_a_gloss() -> None:
    with pytest.raises(ValueError, match="2 ids, 1 spans"):
        Hypothesis(ids=(1, 2), score=0.0, spans=((0, 1),), confidences=(0.5, 0.5))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_greedy_collapses_the_likeliest_path(seed: int, lengths: list[int]) -> None:
    logits = np.random.default_rng(seed).standard_normal((len(lengths), 9, 3)).astype(np.float32)
    for (ids, score), clip, length in zip(greedy_search(torch.from_numpy(logits), lengths), logits, lengths, strict=True):
        assert ids == collapse(clip[:length].argmax(-1).tolist())
        assert score == pytest.approx(log_softmax(clip[:length]).max(-1).sum() if length else 0.0, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_steps=st.integers(1, 6), ids=st.lists(st.integers(1, 2), min_size=1, max_size=3))
def test_the_alignment_is_the_likeliest_path(seed: int, num_steps: int, ids: list[int]) -> None:
    logits = np.random.default_rng(seed).standard_normal((num_steps, 3)).astype(np.float32)
    logp = log_softmax(logits)
    normalisers = (logits - logp)[:, 0]
    path = likeliest_path(logp, tuple(ids))
    if path is None:
        with pytest.raises(ValueError, match="time steps"):
            align_glosses(logits, normalisers, ids)
        return
    spans, confidences = align_glosses(logits, normalisers, ids)
    runs = [(label, [step for step, _ in run]) for label, run in itertools.groupby(enumerate(path), key=lambda entry: entry[1]) if label]
    assert spans == tuple((steps[0], steps[-1] + 1) for _, steps in runs)
    assert confidences == pytest.approx([float(np.exp(logp[steps, label]).mean()) for label, steps in runs], abs=1e-6)


def test_merging_keeps_what_is_apart() -> None:
    assert merge_repeats([1, 1, 2, 1, 1]) == (1, 2, 1)
    assert merge_repeats([]) == ()
