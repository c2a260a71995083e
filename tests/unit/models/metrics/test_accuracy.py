"""Top-k accuracy against a brute-force ranking, and at its corners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CorpusError
from models.metrics.accuracy import label_ranks, top_k_accuracy, top_k_of_ranks

clips = st.integers(1, 6).flatmap(
    lambda classes: st.lists(
        st.tuples(st.lists(st.integers(-2, 2), min_size=classes, max_size=classes), st.integers(0, classes - 1)),
        min_size=1,
        max_size=12,
    )
)


def slow_top_k(logits: list[list[int]], labels: list[int], k: int) -> tuple[float, float, list[int]]:
    """Per instance and per class (percent), classes without clips: each clip's classes are sorted."""
    hits = [label in sorted(range(len(row)), key=lambda c: (-row[c], c))[:k] for row, label in zip(logits, labels, strict=True)]
    shares, empty = [], []
    for number in range(len(logits[0])):
        own = [hit for hit, label in zip(hits, labels, strict=True) if label == number]
        if own:
            shares.append(sum(own) / len(own))
        else:
            empty.append(number)
    return 100 * sum(hits) / len(hits), 100 * sum(shares) / len(shares), empty


@settings(max_examples=200, deadline=None)
@given(clips=clips, k=st.integers(1, 7))
def test_accuracy_equals_a_sorted_ranking_ties_included(clips: list[tuple[list[int], int]], k: int) -> None:
    logits, labels = [row for row, _ in clips], [label for _, label in clips]
    per_instance, per_class, empty = slow_top_k(logits, labels, k)
    found = top_k_accuracy(np.array(logits, np.float32), np.array(labels), k)
    assert (found.per_instance, found.per_class) == (pytest.approx(per_instance), pytest.approx(per_class))
    assert found.classes_without_clips == tuple(empty)
    assert (found.k, found.num_clips, found.num_classes) == (k, len(clips), len(logits[0]))
    assert found.per_instance == pytest.approx(100 * found.num_correct / found.num_clips)


def test_tensors_of_any_kind_are_read() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]], requires_grad=True)
    labels = torch.tensor([1, 2])
    for form in (logits, logits.double(), logits.bfloat16()):
        assert top_k_accuracy(form, labels).per_instance == 50.0
    assert label_ranks(logits, labels).tolist() == [0, 2]
    assert top_k_of_ranks([0, 2], labels, num_classes=3, k=3).per_class == 100.0


def test_a_class_without_clips_is_left_out_and_named() -> None:
    found = top_k_accuracy([[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 5, 0]], [0, 3, 2])
    assert found.classes_without_clips == (1,)
    assert found.per_class == pytest.approx(200 / 3)


def test_of_equal_logits_the_smaller_class_ranks_higher() -> None:
    flat = np.zeros((2, 3))
    assert [top_k_accuracy(flat, [0, 1], k).num_correct for k in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("logits", "labels", "k", "message"),
    [
        ([[0.0, 1.0]], [2], 1, "label 2 of clip 0: there are 2 classes"),
        ([[0.0, 1.0]], [-1], 1, "label -1 of clip 0"),
        ([[0.0, 1.0]], [0.0], 1, "class ids, not float64"),
        ([[0.0, 1.0]], [0, 1], 1, r"not \(1, 2\) and \(2,\)"),
        ([0.0, 1.0], [0, 1], 1, r"not \(2,\)"),
        ([[0.0, 1.0], [float("nan"), 0.0]], [0, 1], 1, "clip 1 hold NaN"),
        ([[0.0, 1.0]], [0], 0, "top-0 accuracy"),
    ],
)
def test_what_makes_no_sense_is_refused(logits: list, labels: list, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        top_k_accuracy(logits, labels, k)


def test_without_clips_there_is_no_accuracy() -> None:
    with pytest.raises(CorpusError, match="no clips"):
        top_k_accuracy(np.zeros((0, 3)), np.zeros(0, np.int64))
