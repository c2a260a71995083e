"""Fusion of logits, and of time steps that differ."""

from __future__ import annotations

import pytest
import torch

from models.fusion import fuse, resample


def logits(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def test_logits_are_averaged_and_log_probabilities_answer_alike() -> None:
    a, b = logits(0, 2, 5, 7), logits(1, 2, 5, 7)
    fused = fuse({"a": a, "b": b}, {"a": 3, "b": 1})
    assert torch.allclose(fused, 0.75 * a + 0.25 * b)
    logs = fuse({"a": a.log_softmax(-1), "b": b.log_softmax(-1)}, {"a": 3, "b": 1})
    assert torch.allclose(fused.log_softmax(-1), logs.log_softmax(-1), atol=1e-6)


def test_probabilities_are_averaged() -> None:
    a, b = logits(0, 2, 7), logits(1, 2, 7)
    fused = fuse({"a": a, "b": b}, {"a": 3, "b": 1}, "probs")
    assert torch.allclose(fused.exp(), 0.75 * a.softmax(-1) + 0.25 * b.softmax(-1), atol=1e-6)
    assert torch.allclose(fuse({"a": a, "b": b}, {"a": 1, "b": 0}, "probs"), a.log_softmax(-1))


def test_weights_must_fit() -> None:
    with pytest.raises(ValueError, match="each needs one"):
        fuse({"a": logits(0, 1, 2)}, {"b": 1})


def test_resampling_takes_the_step_in_the_middle() -> None:
    values = torch.arange(4.0)[None, :, None].expand(2, -1, 1)
    found = resample(values, torch.tensor([4, 2]), torch.tensor([8, 3]))
    assert found[0, :, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found[1, :3, 0].tolist() == [0, 1, 1]
    fewer = resample(values, torch.tensor([4, 4]), torch.tensor([2, 4]))
    assert fewer[0, :2, 0].tolist() == [1, 3]
    assert fewer[1, :, 0].tolist() == [0, 1, 2, 3]


def test_resampling_onto_more_steps_loses_none() -> None:
    for length in range(1, 9):
        for steps in range(length, 20):
            found = resample(torch.arange(float(length))[None, :, None], torch.tensor([length]), torch.tensor([steps]))
            assert sorted(set(found[0, :, 0].tolist())) == list(range(length))
