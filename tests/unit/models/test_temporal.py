"""Convolutions over time whose gradient of the weight is our own; PyTorch's in double precision are the oracle."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models import temporal
from models.temporal import convolved_over_time


def conv_of(kernel: int, stride: int, *, transposed: bool = False) -> nn.Conv2d | nn.ConvTranspose2d:
    sizes: dict[str, Any] = {"stride": (stride, 1), "padding": (kernel // 2, 0), "bias": False}
    return nn.ConvTranspose2d(5, 7, (kernel, 1), output_padding=(stride - 1, 0), **sizes) if transposed else nn.Conv2d(5, 7, (kernel, 1), **sizes)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (7, 2), (5, 1), (1, 1), (3, 2)])
@pytest.mark.parametrize("steps", [1, 2, 6, 9])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "channels first"])
def test_it_is_the_convolution(kernel: int, stride: int, steps: int, transposed: bool, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporal, "MIN_PRODUCTS", 0)
    torch.manual_seed(0)
    conv = conv_of(kernel, stride, transposed=transposed)
    x = torch.randn(2, 5, steps, 4).contiguous(memory_format=layout).requires_grad_()
    out = convolved_over_time(conv, x)
    assert out.grad_fn is not None
    assert "ConvolvedOverTime" in out.grad_fn.name()
    grad = torch.randn_like(out)
    out.backward(grad)
    own, twin = x.detach().double().requires_grad_(), deepcopy(conv).double()
    twin.zero_grad()
    expected = twin(own)
    expected.backward(grad.double())
    for ours, theirs in ((out, expected), (x.grad, own.grad), (conv.weight.grad, twin.weight.grad)):
        assert isinstance(ours, Tensor)
        assert isinstance(theirs, Tensor)
        assert torch.allclose(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_it_is_left_to_pytorch_where_nothing_is_learned_or_little_is_to_be_done() -> None:
    x = torch.randn(1, 5, 4, 4)
    frozen = conv_of(3, 1).requires_grad_(requires_grad=False)
    for conv, clip in ((conv_of(3, 1), x), (conv_of(3, 1).double(), x.double()), (frozen, torch.randn(1, 5, 400, 1000, requires_grad=True))):
        out = convolved_over_time(conv, clip)
        assert out.grad_fn is not None
        assert "ConvolvedOverTime" not in out.grad_fn.name()
