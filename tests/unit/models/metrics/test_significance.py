"""Bootstrap intervals and the paired test: against their definitions, against known distributions, and the same for the same seed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from models.metrics import WordErrors, errors_by_sentence
from models.metrics.bleu import bleu_of_statistics, bleu_statistics
from models.metrics.significance import bootstrap, compare, mean_rate, mean_statistics, wer_rate, wer_statistics

DRAW = np.random.default_rng(7)
ERRORS = np.stack([DRAW.integers(0, 5, 120), DRAW.integers(4, 12, 120)], axis=1)


def test_the_value_is_the_corpus_rate_and_the_interval_holds_it() -> None:
    references, hypotheses = [["A", "B"], ["C"], ["D", "E", "F"]], [["A"], ["C"], ["D", "X", "F", "G"]]
    sentences = errors_by_sentence(references, hypotheses)
    found = bootstrap(wer_statistics(sentences), wer_rate)
    assert found.value == pytest.approx(sum(sentences, WordErrors()).rate)
    assert found.low <= found.value <= found.high


def test_the_interval_is_that_of_plain_resampling() -> None:
    found = bootstrap(ERRORS, wer_rate, num_resamples=4000, seed=1)
    draw = np.random.default_rng(99)
    plain = []
    for _ in range(4000):
        chosen = ERRORS[draw.integers(0, len(ERRORS), len(ERRORS))]
        plain.append(100 * chosen[:, 0].sum() / chosen[:, 1].sum())
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.35)


def test_the_same_seed_gives_the_same_interval_however_it_is_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap(ERRORS, wer_rate, seed=3)
    assert bootstrap(ERRORS, wer_rate, seed=3) == whole
    assert bootstrap(ERRORS, wer_rate, seed=4) != whole
    monkeypatch.setattr("models.metrics.significance.CHUNK_ENTRIES", 500)
    assert bootstrap(ERRORS, wer_rate, seed=3) == whole
    shuffled = compare(ERRORS, ERRORS[:, ::-1] * [1, 0] + [0, 8], wer_rate, seed=3, num_resamples=50)
    monkeypatch.undo()
    assert compare(ERRORS, ERRORS[:, ::-1] * [1, 0] + [0, 8], wer_rate, seed=3, num_resamples=50) == shuffled


def test_the_interval_of_a_share_is_near_the_normal_one() -> None:
    hits = np.arange(400) % 4 == 0
    found = bootstrap(mean_statistics(100.0 * hits), mean_rate)
    half = 1.96 * 100 * math.sqrt(0.25 * 0.75 / 400)
    assert found.value == 25
    assert (found.low, found.high) == pytest.approx((25 - half, 25 + half), abs=0.6)


def test_p_is_that_of_all_swaps() -> None:
    a, b = mean_statistics([1, 0, 2, 5, 3, 1, 4]), mean_statistics([0, 0, 3, 1, 1, 1, 2])
    observed = abs(b.sum(axis=0)[0] - a.sum(axis=0)[0])
    shifts = [abs(sum(sign * d for sign, d in zip(signs, (b - a)[:, 0], strict=True))) for signs in itertools.product((1, -1), repeat=len(a))]
    exact = np.mean(np.array(shifts) >= observed - 1e-9)
    assert compare(a, b, mean_rate, num_resamples=20000).p_value == pytest.approx(exact, abs=0.012)


def test_equal_runs_are_not_told_apart_and_a_clear_gain_is() -> None:
    same = compare(ERRORS, ERRORS, wer_rate)
    assert (same.p_value, same.difference.value, same.difference.low, same.difference.high) == (1.0, 0.0, 0.0, 0.0)
    better = compare(ERRORS, np.maximum(ERRORS - [1, 0], 0), wer_rate)
    assert better.p_value == pytest.approx(1 / 2001)
    assert better.difference.low <= better.difference.value <= better.difference.high < 0
    assert (better.a, better.b) == (pytest.approx(float(wer_rate(ERRORS.sum(axis=0)))), pytest.approx(better.a + better.difference.value))


def test_p_is_uniform_where_the_runs_are_alike() -> None:
    """Runs of independent equal draws: five per cent of them, give or take, fall below 0.05."""
    draw = np.random.default_rng(5)
    values = [compare(mean_statistics(draw.random(40)), mean_statistics(draw.random(40)), mean_rate, num_resamples=200).p_value for _ in range(300)]
    assert np.mean(np.array(values) < 0.05) == pytest.approx(0.05, abs=0.035)
    assert np.mean(values) == pytest.approx(0.5, abs=0.06)


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_any_counts_give_an_ordered_interval(counts: list[tuple[int, int]], seed: int) -> None:
    found = bootstrap(counts, wer_rate, num_resamples=40, seed=seed)
    if any(tokens for _, tokens in counts):
        assert found.low <= found.high
        assert math.isfinite(found.value)


def test_bleu_is_resampled_by_its_counts() -> None:
    references = ["es regnet im norden .", "morgen scheint die sonne im süden .", "wind ."] * 8
    hypotheses = ["es regnet im süden .", "morgen scheint die sonne .", "wind ."] * 8
    statistics = bleu_statistics(references, hypotheses)
    found = bootstrap(statistics, bleu_of_statistics)
    chosen = np.random.default_rng(0).integers(0, len(references), len(references))
    assert bleu_of_statistics(statistics[chosen].sum(axis=0)) == pytest.approx(
        float(bleu_of_statistics(bleu_statistics([references[i] for i in chosen], [hypotheses[i] for i in chosen]).sum(axis=0)))
    )
    assert 0 < found.low < found.value < found.high < 100


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(CorpusError, match="no sentences to draw"):
        bootstrap(np.zeros((0, 2)), wer_rate)
    with pytest.raises(ValueError, match="the same sentences on both sides"):
        compare(ERRORS, ERRORS[1:], wer_rate)
    with pytest.raises(ValueError, match="confidence 95"):
        bootstrap(ERRORS, wer_rate, confidence=95)
    with pytest.raises(ValueError, match=r"statistics \(N, K\)"):
        bootstrap([1, 2], wer_rate)
