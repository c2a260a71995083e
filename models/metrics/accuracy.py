"""Top-k accuracy of isolated signs, per instance and per class (dsta_slr.md, section 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import CorpusError

if TYPE_CHECKING:  # scoring files needs no torch
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class TopKAccuracy:
    """How often the label was among the k classes of the highest logits, in percent.

    per_instance: share of the clips. per_class: mean over the classes that have clips of their share.
    classes_without_clips: ids of the classes that per_class leaves out (as published, they would be a division by zero).
    """

    k: int
    per_instance: float
    per_class: float
    num_clips: int
    num_correct: int
    num_classes: int
    classes_without_clips: tuple[int, ...]


def top_k_accuracy(logits_NC: ArrayLike | Tensor, labels_N: ArrayLike | Tensor, k: int = 1) -> TopKAccuracy:
    """Accuracy of logits (or any scores) (N, C) for labels (N,) from 0 to C - 1; with k ≥ C every clip is correct.

    Of classes with equal logits the one with the smaller id ranks higher.
    Raises CorpusError where there is no clip, ValueError for other shapes, labels out of range, k < 1, or NaN among the logits.
    """
    ranks_N = label_ranks(logits_NC, labels_N)
    return top_k_of_ranks(ranks_N, labels_N, num_classes=_array(logits_NC).shape[1], k=k)


def label_ranks(logits_NC: ArrayLike | Tensor, labels_N: ArrayLike | Tensor) -> NDArray[np.int64]:
    """How many classes rank above each clip's label (N,): 0 is a top-1 hit, `< k` a top-k hit. Raises ValueError as `top_k_accuracy`."""
    logits, labels = _checked(_array(logits_NC), _array(labels_N))
    own_N1 = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier_NC = np.arange(logits.shape[1]) < labels[:, None]
    return np.asarray(((logits > own_N1) | ((logits == own_N1) & earlier_NC)).sum(axis=1), np.int64)


def top_k_of_ranks(ranks_N: ArrayLike, labels_N: ArrayLike | Tensor, *, num_classes: int, k: int = 1) -> TopKAccuracy:
    """Accuracy from the ranks of `label_ranks`, which several k can share. Raises CorpusError without clips, ValueError for k < 1."""
    ranks, labels = _array(ranks_N), _array(labels_N)
    if k < 1:
        raise ValueError(f"top-{k} accuracy: k is 1 or more")
    if not len(ranks):
        raise CorpusError("there are no clips, so there is no accuracy: check the split")
    hits = ranks < k
    clips_C = np.bincount(labels, minlength=num_classes)
    hits_C = np.bincount(labels[hits], minlength=num_classes)
    seen = clips_C > 0
    return TopKAccuracy(
        k=k,
        per_instance=100.0 * float(hits.mean()),
        per_class=100.0 * float((hits_C[seen] / clips_C[seen]).mean()),
        num_clips=len(hits),
        num_correct=int(hits.sum()),
        num_classes=num_classes,
        classes_without_clips=tuple(np.flatnonzero(~seen).tolist()),
    )


def _array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """As an array: a tensor may lie on any device, need a gradient or be bfloat16."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        return np.asarray((values.float() if values.is_floating_point() else values).numpy())
    return np.asarray(values)


def _checked(logits: NDArray[Any], labels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits (N, C) and labels (N,) were expected, not {logits.shape} and {labels.shape}")
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are class ids, not {labels.dtype}")
    labels = labels.astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= logits.shape[1]))
    if wrong.size:
        raise ValueError(f"label {labels[wrong[0]]} of clip {wrong[0]}: there are {logits.shape[1]} classes, from 0")
    broken = np.flatnonzero(np.isnan(logits).any(axis=1))
    if broken.size:
        raise ValueError(f"the logits of clip {broken[0]} hold NaN, so they rank nothing")
    return logits, labels
