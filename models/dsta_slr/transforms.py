"""Convolution over all frames of a clip as products of transforms: fewer multiplications than a product per tap, and as exact.

y[τ] = Σ_j w[j]·x[stride·τ + j − h] of a kernel of 2h + 1 taps over T frames, zeros outside, is `out @ ((frames @ x) · (taps @ w))`: a discrete
Fourier transform padded so far that nothing wraps around, with three real products for each complex one (Gauss). Strided, every stride-th frame
from each start is transformed by itself and the products are added, so that only the frames that stay are computed.
For 30 frames and 7 taps that is 49 products instead of 198.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Transforms(NamedTuple):
    """P phases, N products: frames (P, N, T), taps (P, N, kernel), out (T/stride, N); float64."""

    frames: Tensor
    taps: Tensor
    out: Tensor


def num_products(num_frames: int, kernel: int, stride: int) -> int:
    """P·N: matrix products of a convolution done by transforms."""
    period = _period(num_frames, kernel, stride)
    return stride * (period + (period - 1) // 2)


@lru_cache(maxsize=64)
def transforms(num_frames: int, kernel: int, stride: int) -> Transforms:
    """The three matrices for clips of `num_frames`, an odd `kernel` and zero padding kernel // 2."""
    period = _period(num_frames, kernel, stride)
    num = num_products(num_frames, kernel, stride) // stride
    frames, taps = torch.zeros(stride, num, num_frames, dtype=torch.float64), torch.zeros(stride, num, kernel, dtype=torch.float64)
    shifts, phases = torch.arange(kernel) - kernel // 2, torch.arange(kernel).sub(kernel // 2) % stride
    for phase in range(stride):
        own = torch.arange(num_frames)[phase::stride]
        real, cos, sin = _waves(period, own // stride)
        frames[phase][:, own] = torch.cat([real, cos - sin, -sin, cos])
        own = torch.nonzero(phases == phase)[:, 0]
        real, cos, sin = _waves(period, (shifts[own] - phase) // stride)
        taps[phase][:, own] = torch.cat([real, cos, cos + sin, sin - cos])
    real, cos, sin = _waves(period, torch.arange((num_frames - 1) // stride + 1))
    out = torch.cat([real, 2 * (cos - sin), -2 * cos, -2 * sin]) / period
    return Transforms(frames, taps, out.T.contiguous())


def _period(num_frames: int, kernel: int, stride: int) -> int:
    """Length of the circular convolution in which the zeros keep both ends apart."""
    half = kernel // 2
    return (num_frames - 1) // stride + 1 + max(-(-half // stride), half // stride)


def _waves(period: int, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The frequencies whose transform is real (0, and period/2 of an even period), and cos and sin of the others, at `steps`."""
    angles = torch.arange(period // 2 + 1, dtype=torch.float64)[:, None] * steps * (2 * math.pi / period)
    cos, sin = angles.cos(), angles.sin()
    last = period // 2 if period % 2 == 0 else period // 2 + 1
    return torch.cat([cos[:1], cos[last:]]), cos[1:last], sin[1:last]
