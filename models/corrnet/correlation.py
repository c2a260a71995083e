"""CorrNet's block: what a position of a frame finds alike in its neighbouring frames (Hu et al. 2023; cslr_common.md, section 13)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.vac.clips import Clips

TAPS = 9  # frames that the aggregation sees
DILATIONS = (1, 2, 3)


class Correlate(torch.autograd.Function):
    """(sigmoid(x yᵀ) − 1/2) y for positions x (N, P, C) of a frame and y (N, Q, C) of another → (N, P, C).

    The map (N, P, Q) is what costs memory here: it is formed, squashed and kept in one place.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        squashed = torch.bmm(x, y.transpose(1, 2)).sigmoid_().sub_(0.5)
        ctx.save_for_backward(x, y, squashed)
        return torch.bmm(squashed, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, y, squashed = ctx.saved_tensors
        grad_y = torch.bmm(squashed.transpose(1, 2), grad)
        slope = torch.bmm(grad, y.transpose(1, 2))
        slope.mul_(torch.addcmul(slope.new_tensor(0.25), squashed, squashed, value=-1))  # of the sigmoid, s (1 − s) with s − 1/2 at hand
        return torch.bmm(slope, y), grad_y.baddbmm_(slope.transpose(1, 2), x)


def correlate(x: Tensor, y: Tensor) -> Tensor:
    """See `Correlate`. Under autocast y comes from a convolution and decides the precision."""
    result: Tensor = Correlate.apply(x.to(y.dtype), y)
    return result


class Correlation(nn.Module):
    """Features of neighbouring frames, by likeness, within a mask of where something moves: (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = channels // 16
        self.mix = nn.Parameter(torch.full((len(DILATIONS),), 1 / len(DILATIONS)))
        self.direction = nn.Parameter(torch.full((2,), 0.5))
        self.reduce = nn.Conv2d(channels, reduced, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        self.aggregate = nn.ModuleList(
            nn.Conv3d(reduced, reduced, (TAPS, 3, 3), padding=(TAPS // 2, dilation, dilation), dilation=(1, dilation, dilation), groups=reduced)
            for dilation in DILATIONS
        )
        self.restore = nn.Conv2d(reduced, channels, 1, bias=False)

    def forward(self, x: Tensor, clips: Clips) -> Tensor:
        """The block without its residual."""
        return self.likeness(x, clips) * (torch.sigmoid(self.restore(self.motion(x, clips))) - 0.5)

    def likeness(self, x: Tensor, clips: Clips) -> Tensor:
        """What the next and the previous frame show, weighed by how alike all pairs of positions are; at its ends a clip meets itself."""
        positions, neighbours = (part.permute(0, 2, 3, 1).flatten(1, 2) for part in (x, self.project(x)))
        later, earlier = (correlate(positions, neighbours[clips.neighbours(step, x.device)]) for step in (1, -1))
        both = self.direction[0] * later + self.direction[1] * earlier
        return both.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

    def motion(self, x: Tensor, clips: Clips) -> Tensor:
        """Three depthwise convolutions over space and time of a few channels, mixed: (N, C, H, W) → (N, C/16, H, W)."""
        z = self.reduce(x)
        bias = sum(weight * conv.bias for weight, conv in zip(self.mix, self.aggregate, strict=True))
        taps_NRKHW = torch.stack([self._spatial(conv, weight, z) for weight, conv in zip(self.mix, self.aggregate, strict=True)]).sum(0)
        summed: Tensor = clips.each(_shifted_sum, taps_NRKHW) + bias[:, None, None]
        return summed

    def _spatial(self, conv: nn.Module, weight: Tensor, z: Tensor) -> Tensor:
        """The spatial part of each of a convolution's taps over time: (N, R, H, W) → (N, R, taps, H, W)."""
        assert isinstance(conv, nn.Conv3d)
        dilation = conv.dilation[1:]
        kernels = (weight * conv.weight).transpose(1, 2).flatten(0, 1)
        taps = F.conv2d(z, kernels, padding=dilation, dilation=dilation, groups=len(conv.weight))
        by_tap: Tensor = taps.unflatten(1, (-1, TAPS))
        return by_tap


def _shifted_sum(taps_BTRKHW: Tensor) -> Tensor:
    """Tap k of frame t + k − 4 goes to frame t: (B, T, R, taps, H, W) → (B, T, R, H, W)."""
    num_frames, margin = taps_BTRKHW.shape[1], TAPS // 2
    out = taps_BTRKHW[:, :, :, margin].clone()
    for tap in range(TAPS):
        shift = tap - margin
        first, last = max(0, -shift), min(num_frames, num_frames - shift)
        if shift and first < last:
            out[:, first:last] += taps_BTRKHW[:, first + shift : last + shift, :, tap]
    return out
