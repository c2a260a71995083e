"""Pruning changes no answer: the likeliest class under a weighting is that of all classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.fusion import FusionRule, fuse
from tune.candidates import candidates, likeliest
from tune.search import corners, draws


@pytest.mark.parametrize("rule", ["logits", "probs"])
@pytest.mark.parametrize("sharpness", [0.5, 8.0])
def test_the_likeliest_is_that_of_all_classes(rule: FusionRule, sharpness: float) -> None:
    generator = np.random.default_rng(0)  # members agree in the main, as networks of one corpus do
    logits = ((generator.normal(size=(1, 2100, 40)) + 0.5 * generator.normal(size=(3, 2100, 40))) * sharpness).astype(np.float32)
    blocks = list(candidates(logits, rule))
    weights = np.concatenate([corners(3), draws(3, 30, 0)])
    assert sum(block.ids.size for block in blocks) < logits[0].size / 2
    found = likeliest(blocks, weights)
    for row, weighting in enumerate(weights):
        fused = fuse({str(member): torch.from_numpy(values) for member, values in enumerate(logits)}, dict(zip("012", weighting, strict=True)), rule)
        agree = (found[row] == fused.argmax(-1).numpy()).mean()
        assert agree == 1.0, f"weights {weighting}"


def test_of_equal_classes_the_first_counts() -> None:
    logits = np.zeros((2, 1, 4), np.float32)
    assert likeliest(list(candidates(logits, "logits")), draws(2, 5, 0)).tolist() == [[0]] * 5
