"""Lateral convolutions with 25 instead of 36 products for each 2×2 of the smaller pictures, on a CPU in float32.

A kernel of 3 with stride 2 along an axis sees odd and even places apart: y[i] = w0 o[i] + w2 o[i+1] + w1 e[i], with o[i] = x[2i-1] and e[i] = x[2i]. Its two
taps on the odd places are a filter of 2 taps, of which two outputs need three products instead of four (Winograd's F(2, 2)):

    a = (o[0] - o[1]) w0 + e[0] w1        y[0] = a + m
    m = o[1] (w0 + w2)                    y[1] = c + m
    c = (o[2] - o[1]) w2 + e[1] w1

That is five products an axis (the columns of `COLUMNS`) for two outputs; nested over height and width, 25. Along time the seven taps stay, as matrix products
that add up. What isn't a product is a few loops over channels (`kernels.py`), for which features lie with the channels last; the weight is told apart tap by
tap, so that it is never held 25/9 times over. The backward pass is the same algorithm turned round; a transposed convolution is the other's gradient.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from models.twostream.kernels import gathered, outputs_of, products_of, scattered, weight_at, weight_back

Shape = tuple[int, int, int, int]  # clips, steps, height and width of the smaller features
TAPS = 7  # along time
MIN_WINDOWS = 256
# First and last column of the nine sums (a, m, c along height, then along width) among the 25 products, in the kernels' order.
SUMS = ((0, 4), (4, 6), (6, 10), (10, 12), (12, 13), (13, 15), (15, 19), (19, 21), (21, 25))


def fits(x: Tensor, *, steps: int, height: int, width: int) -> bool:
    """Whether this form is to be taken. steps: of all clips; height, width: of the smaller pictures, which must come in twos.

    With few windows telling the weight apart costs more than it saves. PyTorch's own convolutions do the same.
    """
    return x.device.type == "cpu" and x.dtype == torch.float32 and height % 2 == 0 and width % 2 == 0 and steps * height * width // 4 >= MIN_WINDOWS


def halved(x_BCTHW: Tensor, weight: Tensor) -> Tensor:
    """conv3d of kernel (7, 3, 3), stride (1, 2, 2), padding (3, 1, 1): (B, C, T, 2H, 2W), weight (O, C, 7, 3, 3) → (B, O, T, H, W), channels last."""
    out: Tensor = _Halved.apply(x_BCTHW, weight)
    return out


def doubled(x_BCTHW: Tensor, weight: Tensor) -> Tensor:
    """The transposed form: (B, O, T, H, W), weight (O, C, 7, 3, 3) → (B, C, T, 2H, 2W), channels last."""
    out: Tensor = _Doubled.apply(x_BCTHW, weight)
    return out


class _Halved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        B, _, T, H, W = x.shape
        return _smaller(_gathered(x), (B, T, H // 2, W // 2), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        sums, shape = _products(grad), _like_smaller(grad)
        return _larger(sums, shape, weight) if wants_x else None, _weight_grad(_gathered(x), sums, shape, weight) if wants_weight else None


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _larger(_products(x), _like_smaller(x), weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad
        combined, shape = _gathered(grad), _like_smaller(x)
        return _smaller(combined, shape, weight) if wants_x else None, _weight_grad(combined, _products(x), shape, weight) if wants_weight else None


def _smaller(combined: Tensor, shape: Shape, weight: Tensor) -> Tensor:
    """The smaller features. combined: of `_gathered`."""
    B, T, H, W = shape
    O, C = weight.shape[:2]
    rows = B * (H // 2) * (W // 2)
    told = weight.new_empty(O, 25 * C)
    sums = weight.new_zeros(9, T * rows, O)
    for tap in range(TAPS):
        weight_at(_array(weight), tap, _array(told))
        shifted = combined[tap * rows : (tap + T) * rows]
        for number, (first, last) in enumerate(SUMS):
            sums[number].addmm_(shifted[:, first * C : last * C], told[:, first * C : last * C].t())
    out = weight.new_empty(B, T, H, W, O)
    outputs_of(_array(sums), _array(out))
    return out.permute(0, 4, 1, 2, 3)


def _larger(sums: Tensor, shape: Shape, weight: Tensor) -> Tensor:
    """The larger features. sums: of `_products`."""
    B, T, H, W = shape
    O, C = weight.shape[:2]
    rows = B * (H // 2) * (W // 2)
    told = weight.new_empty(O, 25 * C)
    combined = weight.new_zeros((T + TAPS - 1) * rows, 25 * C)
    for tap in range(TAPS):
        weight_at(_array(weight), tap, _array(told))
        shifted = combined[tap * rows : (tap + T) * rows]
        for number, (first, last) in enumerate(SUMS):
            shifted[:, first * C : last * C].addmm_(sums[number], told[:, first * C : last * C])
    out = weight.new_zeros(B, T, 2 * H, 2 * W, C)
    scattered(_array(combined), _array(out))
    return out.permute(0, 4, 1, 2, 3)


def _weight_grad(combined: Tensor, sums: Tensor, shape: Shape, weight: Tensor) -> Tensor:
    """Gradient of the weight, of what both features were made into."""
    B, T, H, W = shape
    O, C = weight.shape[:2]
    rows = B * (H // 2) * (W // 2)
    told, grad = weight.new_empty(O, 25 * C), torch.empty_like(weight, memory_format=torch.contiguous_format)
    for tap in range(TAPS):
        shifted = combined[tap * rows : (tap + T) * rows]
        for number, (first, last) in enumerate(SUMS):
            torch.mm(sums[number].t(), shifted[:, first * C : last * C], out=told[:, first * C : last * C])
        weight_back(_array(told), tap, _array(grad))
    return grad


def _like_smaller(x_BCTHW: Tensor) -> Shape:
    B, _, T, H, W = x_BCTHW.shape
    return B, T, H, W


def _gathered(x_BCTHW: Tensor) -> Tensor:
    """The 25 combinations of each window of the larger features, three steps of zeros before and after: ((T + 6)·B·H/4·W/4, 25·C)."""
    larger = _channels_last(x_BCTHW)
    B, T, H, W, C = larger.shape
    combined = larger.new_empty((T + TAPS - 1) * B * (H // 4) * (W // 4), 25 * C)
    gathered(_array(larger), TAPS // 2, _array(combined))
    return combined


def _products(x_BCTHW: Tensor) -> Tensor:
    """What each of the nine sums gets of the smaller features, or of their gradient: (9, T·B·H/2·W/2, O)."""
    smaller = _channels_last(x_BCTHW)
    B, T, H, W, O = smaller.shape
    sums = smaller.new_empty(9, T * B * (H // 2) * (W // 2), O)
    products_of(_array(smaller), _array(sums))
    return sums


def _channels_last(x_BCTHW: Tensor) -> Tensor:
    """(B, T, H, W, C), dense."""
    return x_BCTHW.permute(0, 2, 3, 4, 1).contiguous()


def _array(x: Tensor) -> Any:
    return x.detach().numpy()
