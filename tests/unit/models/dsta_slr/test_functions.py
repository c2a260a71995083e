"""The hand-written backward passes agree with numerical gradients and with plain operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.gradcheck import gradcheck

from models.dsta_slr import functions
from models.dsta_slr.functions import SpectralProduct, joint_mix, temporal_product, training_norm
from models.dsta_slr.transforms import num_products, transforms


def doubles(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def convolved(x_TBJC: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(x_TBJC.permute(1, 3, 0, 2), weight.permute(2, 1, 0)[..., None], stride=(stride, 1), padding=(len(weight) // 2, 0)).permute(2, 0, 3, 1)


@pytest.mark.parametrize("by_transforms", [False, True])
@pytest.mark.parametrize(("kernels", "stride"), [((5, 7), 1), ((5, 7), 2), ((1, 3), 3), ((3, 3), 1)])
@pytest.mark.parametrize("num_frames", [1, 4, 9])
def test_temporal_product_is_two_convolutions(
    kernels: tuple[int, int], stride: int, num_frames: int, by_transforms: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(functions, "transforms_pay", lambda *_: by_transforms)
    x, short, long = doubles(num_frames, 2, 2, 3), doubles(kernels[0], 3, 2), doubles(kernels[1], 3, 2)
    expected = torch.cat([convolved(x, short, stride), convolved(x, long, stride)], -1)
    torch.testing.assert_close(temporal_product(x, short, long, stride), expected)
    assert gradcheck(lambda *inputs: temporal_product(*inputs, stride), (x, short, long))


@pytest.mark.parametrize(("num_frames", "stride"), [(15, 2), (60, 1), (120, 1)])
def test_transforms_keep_single_precision(num_frames: int, stride: int) -> None:
    """As near to the exact result as a convolution in single precision is, within a small factor."""
    torch.manual_seed(0)
    x, weight = torch.randn(num_frames, 2, 3, 64) + 1, torch.randn(7, 64, 32)
    exact = convolved(x.double(), weight.double(), stride)
    ours = (SpectralProduct.apply(x, weight, stride) - exact).abs().max()
    plain = (convolved(x, weight, stride) - exact).abs().max()
    assert ours < 5 * plain


def test_transforms_save_products() -> None:
    assert num_products(30, 7, 1) == 49
    assert transforms(30, 7, 1).out.shape == (30, 49)


def test_joint_mix() -> None:
    x, maps = doubles(3, 2, 5, 4), doubles(4, 5, 5)
    torch.testing.assert_close(joint_mix(x, maps), torch.einsum("tbuc,cuv->tbvc", x, maps))
    assert gradcheck(joint_mix, (x, maps))


@pytest.mark.parametrize("has_residual", [False, True])
@pytest.mark.parametrize("relu", [False, True])
def test_norm_gradient(has_residual: bool, relu: bool) -> None:
    z, residual, weight, bias = doubles(4, 2, 3), doubles(4, 2, 3) if has_residual else None, doubles(3), doubles(3)

    def norm(z: Tensor, weight: Tensor, bias: Tensor, residual: Tensor | None) -> Tensor:
        return training_norm(z, torch.zeros(3, dtype=z.dtype), residual, weight, bias, eps=1e-5, relu=relu)[0]

    assert gradcheck(norm, (z, weight, bias, residual))


def test_norm_keeps_its_accuracy_far_from_zero() -> None:
    z = torch.randn(400, 3) + 1000
    out, mean, variance = training_norm(z, torch.ones(3), None, torch.ones(3), torch.zeros(3), eps=1e-5, relu=False)
    expected = F.batch_norm(z.double(), None, None, training=True)
    torch.testing.assert_close(out.double(), expected, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(mean, z.mean(0) + 1)
    torch.testing.assert_close(variance.double(), z.double().var(0, correction=0), rtol=1e-4, atol=0)
