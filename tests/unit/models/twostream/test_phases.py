"""Lateral convolutions by phases: PyTorch's own convolutions in double precision are the oracle, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.s3d.layers import NO_ENDS
from models.twostream import phases
from models.twostream.layers import LateralDown, LateralUp

OUT, INTO = 11, 70  # more channels than the loops take at a time, and no round number


def direct_down(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv3d(x, weight, stride=(1, 2, 2), padding=(3, 1, 1))


def direct_up(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv_transpose3d(x, weight, stride=(1, 2, 2), padding=(3, 1, 1), output_padding=(0, 1, 1))


def answers(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, grad: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The output, and the gradients of both inputs."""
    x, weight = (each.to(dtype).detach().clone().requires_grad_() for each in (x, weight))
    out = function(x, weight)
    out.backward(grad.to(dtype))
    assert x.grad is not None
    assert weight.grad is not None
    return out.detach(), x.grad, weight.grad


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (2, 5, 6, 4), (3, 2, 2, 8)], ids=str)
@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_they_are_the_convolutions(shape: tuple[int, int, int, int], last: bool) -> None:
    B, T, H, W = shape
    torch.manual_seed(0)
    large, small = torch.randn(B, INTO, T, 2 * H, 2 * W), torch.randn(B, OUT, T, H, W)
    if last:
        large, small = (x.contiguous(memory_format=torch.channels_last_3d) for x in (large, small))
    weight = torch.randn(OUT, INTO, 7, 3, 3)
    for function, direct, x, grad in ((phases.halved, direct_down, large, small), (phases.doubled, direct_up, small, large)):
        expected = answers(direct, x, weight, grad, torch.float64)
        for ours, theirs in zip(answers(function, x, weight, grad, torch.float32), expected, strict=True):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= 5e-6 * theirs.std()


@pytest.mark.parametrize(("height", "by_phases"), [(32, True), (8, False), (30, False)])
def test_a_lateral_takes_them_where_they_pay(height: int, by_phases: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    calls: list[str] = []
    for name in ("halved", "doubled"):
        function = getattr(phases, name)
        monkeypatch.setattr(phases, name, lambda x, weight, name=name, function=function: calls.append(name) or function(x, weight))
    down, up = LateralDown(6), LateralUp(6)
    rgb, keypoint = torch.randn(2, 6, 4, height, 32), torch.randn(2, 6, 4, height // 2, 16)
    with torch.no_grad():
        assert torch.allclose(down(rgb, NO_ENDS), direct_down(rgb, down.conv.weight), atol=2e-5)
        assert torch.allclose(up(keypoint, NO_ENDS), direct_up(keypoint, up.conv.weight), atol=2e-5)
    assert calls == (["halved", "doubled"] if by_phases else [])


def test_double_precision_and_second_derivatives_are_left_to_pytorch() -> None:
    assert not phases.fits(torch.randn(1, 2, 4, 64, 64).double(), steps=4, height=32, width=32)
    x, weight = torch.randn(1, 2, 1, 4, 4, requires_grad=True), torch.randn(2, 2, 7, 3, 3)
    (grad,) = torch.autograd.grad(phases.halved(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
