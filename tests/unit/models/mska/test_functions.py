"""The hand-written backward passes agree with numerical gradients and with plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.gradcheck import gradcheck

from models.mska.functions import mix, scores, temporal_product, training_norm


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_scores_gradient() -> None:
    assert gradcheck(scores, (doubles(2, 5, 3), doubles(2, 5, 3)))


def test_mix_gradient() -> None:
    assert gradcheck(mix, (doubles(2, 5, 3), doubles(2, 4, 3, 3)))


def test_mix_is_a_product_per_subset() -> None:
    x, maps = doubles(2, 5, 3), doubles(2, 4, 3, 3)
    torch.testing.assert_close(mix(x, maps), torch.einsum("bmu,bpuv->bpmv", x, maps))


@pytest.mark.parametrize("kernel", [1, 3, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("num_frames", [1, 4, 9])
def test_temporal_product_is_a_convolution(kernel: int, stride: int, num_frames: int) -> None:
    x, weight = doubles(2, 3, num_frames, 2), doubles(4, 3, kernel)
    expected = F.conv2d(x, weight[..., None], stride=(stride, 1), padding=(kernel // 2, 0))
    torch.testing.assert_close(temporal_product(x, weight, stride), expected)
    assert gradcheck(lambda x, weight: temporal_product(x, weight, stride), (x, weight))


@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("slope", [0.1, 1.0])
def test_norm_gradient(has_residual: bool, slope: float) -> None:
    z, residual, weight, bias = doubles(2, 3, 4, 2), doubles(2, 3, 4, 2) if has_residual else None, doubles(3), doubles(3)

    def norm(z: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
        return training_norm(z, torch.zeros(3, dtype=z.dtype), residual, weight, bias, eps=1e-5, slope=slope, num_joints=2)[0]

    assert gradcheck(norm, (z, weight, bias, residual))


def test_norm_counts_real_joints_only() -> None:
    z, weight, bias = torch.randn(2, 3, 4, 5), torch.rand(3), torch.randn(3)
    padded, residual = F.pad(z, (0, 3)), torch.randn(2, 3, 4, 5)
    out, mean, variance = training_norm(padded, torch.ones(3), F.pad(residual, (0, 3)), weight, bias, eps=1e-5, slope=0.1, num_joints=5)
    expected = F.leaky_relu(F.batch_norm(z, None, None, weight, bias, True) + residual, 0.1)
    torch.testing.assert_close(out[..., :5], expected)
    assert not out[..., 5:].any()
    torch.testing.assert_close(mean, z.mean((0, 2, 3)) + 1)
    torch.testing.assert_close(variance, z.var((0, 2, 3), correction=0))


def test_norm_keeps_its_accuracy_far_from_zero() -> None:
    z = torch.randn(4, 2, 50, 4) + 1000
    out, _, variance = training_norm(z, torch.zeros(2), None, torch.ones(2), torch.zeros(2), eps=1e-5, slope=1.0, num_joints=4)
    expected = F.batch_norm(z.double(), None, None, training=True)
    torch.testing.assert_close(out.double(), expected, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(variance.double(), z.double().var((0, 2, 3), correction=0), rtol=1e-4, atol=0)
