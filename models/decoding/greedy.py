"""Greedy CTC decoding: the likeliest class of each step, repeats collapsed, blanks dropped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from models.decoding.emissions import Emissions, read_emissions


def greedy_search(logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, blank: int = 0) -> list[tuple[tuple[int, ...], float]]:
    """Labels of the likeliest path of each clip, with the natural log-probability of that path.

    logits_BSV: (B, S, V); lengths_B: (B,) steps. A gloss that a blank divides stays twice. Raises ValueError as `read_emissions`.
    """
    return greedy_emissions(read_emissions(logits_BSV, lengths_B, blank=blank))


def greedy_emissions(emissions: Emissions) -> list[tuple[tuple[int, ...], float]]:
    """`greedy_search` of logits that are read already."""
    num_steps = emissions.logits.shape[1]
    classes_BS = emissions.logits.argmax(axis=-1)
    logits_BS = np.take_along_axis(emissions.logits, classes_BS[..., None], axis=-1)[..., 0]
    within_BS = np.arange(num_steps) < emissions.lengths[:, None]
    starts_BS = within_BS & (classes_BS != emissions.blank)
    starts_BS[:, 1:] &= classes_BS[:, 1:] != classes_BS[:, :-1]
    scores_B = (logits_BS - emissions.normalisers).sum(axis=1, where=within_BS)
    return [(tuple(classes[starts].tolist()), float(score)) for classes, starts, score in zip(classes_BS, starts_BS, scores_B, strict=True)]
