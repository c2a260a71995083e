"""Convolutions over time alone of features with the channels last, on a CPU: PyTorch's, but for the gradient of the weight.

oneDNN takes two to ten times as long for that gradient as for the convolution itself where a core has no AVX-512. Here it is a matrix product for each tap, of
the features and the upstream gradient as they lie, one row a place and step; nothing is padded, stacked or laid out anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

MIN_PRODUCTS = 2**22  # of input and output channels, steps and places: below that a call's own cost counts


def convolved_over_time(conv: nn.Conv2d | nn.ConvTranspose2d, x_BCTP: Tensor) -> Tensor:
    """`conv`, plain or transposed, whose kernel is (odd, 1) with padding kernel // 2, of (B, C, T, P) → (B, O, T', P)."""
    B, _, T, P = x_BCTP.shape
    simple = conv.groups == 1 and conv.bias is None
    suits = simple and x_BCTP.device.type == "cpu" and x_BCTP.dtype == conv.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if suits and torch.is_grad_enabled() and conv.weight.requires_grad and conv.weight.shape[0] * conv.weight.shape[1] * B * T * P >= MIN_PRODUCTS:
        out: Tensor = _ConvolvedOverTime.apply(x_BCTP, conv.weight, conv.stride[0], conv.transposed, conv.output_padding)
        return out
    return cast(Tensor, conv(x_BCTP))


class _ConvolvedOverTime(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, transposed: bool, extra: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.transposed = stride, transposed
        ctx.sizes = [stride, 1], [weight.shape[2] // 2, 0], [1, 1], transposed, list(extra), 1
        return torch.convolution(x, weight, None, *ctx.sizes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, *_ = ctx.needs_input_grad
        grad_x = torch.ops.aten.convolution_backward(grad, x, weight, None, *ctx.sizes, [True, False, False])[0] if wants_x else None
        finer, coarser = (grad, x) if ctx.transposed else (x, grad)
        return grad_x, _weight_gradient(finer, coarser, weight, ctx.stride) if wants_weight else None, None, None, None


def _weight_gradient(finer: Tensor, coarser: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Of a convolution's input and its output's gradient; of a transposed one's, the other way round."""
    rows, upstream = (each.permute(0, 2, 3, 1).contiguous() for each in (finer, coarser))  # views, where the channels are last
    taps = weight.new_zeros(weight.shape[2], *weight.shape[:2])
    for tap, source, target in _shifts(rows.shape[1], len(taps), stride):
        for seen, told in zip(rows, upstream, strict=True):
            read, reached = seen[source], told[target]
            if read.is_contiguous():
                taps[tap].addmm_(reached.flatten(0, 1).t(), read.flatten(0, 1))
            else:
                for step_told, step_seen in zip(reached, read, strict=True):
                    taps[tap].addmm_(step_told.t(), step_seen)
    return taps.permute(1, 2, 0)[..., None].contiguous()


def _shifts(steps: int, kernel: int, stride: int) -> Iterator[tuple[int, slice, slice]]:
    """Of each tap: its number, the input's steps that it reads, and the output's that they reach; none of a tap that reads nothing but padding."""
    num_out = (steps - 1) // stride + 1
    for tap in range(kernel):
        shift = tap - kernel // 2
        first = max(0, -(shift // stride))  # the first output whose step lies within
        last = min(num_out, (steps - 1 - shift) // stride + 1)
        if first < last:
            yield tap, slice(first * stride + shift, (last - 1) * stride + shift + 1, stride), slice(first, last)
