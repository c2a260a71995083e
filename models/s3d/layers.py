"""The building blocks of S3D on (B, C, T, H, W), laid out in memory with the channels last.

In that layout the frames of all clips are one batch of pictures, and a clip is one picture of T rows and H·W columns, both without a copy. So every
separable convolution and pool runs as a 2-D one, which is faster than the 3-D form on a CPU and as fast on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batch import valid_steps
from models.s3d.config import MixedShape
from models.temporal import convolved_over_time

Axis = Literal["space", "time"]
Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Where the clips of a padded batch end, so that what lies beyond looks to a layer as it would to the clip alone.

    lengths: (B,) steps of each clip; None where nothing is masked: clips of equal length, or the published form, in which padding counts as signing.
    """

    lengths: Tensor | None = None

    def filled(self, x_BCTHW: Tensor, value: float) -> Tensor:
        """`x_BCTHW` with `value` beyond each clip's end."""
        if self.lengths is None:
            return x_BCTHW
        beyond_BT = ~valid_steps(self.lengths, x_BCTHW.shape[2])
        return x_BCTHW.masked_fill(beyond_BT[:, None, :, None, None], value)

    def pooled(self, kernel: int, stride: int, padding: int) -> Ends:
        """The ends after a convolution or pool over time."""
        if self.lengths is None or (kernel, stride) == (1, 1):
            return self
        return Ends(lengths=(self.lengths + 2 * padding - kernel) // stride + 1)


NO_ENDS = Ends()


class _Relaid(torch.autograd.Function):
    """The same tensor in one memory format, its gradient in another: autograd alone hands gradients on in whatever layout they come."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, own: torch.memory_format, gradient: torch.memory_format) -> Tensor:
        ctx.gradient = gradient
        out = laid_out(x, own)
        return out.view_as(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return laid_out(grad, ctx.gradient), None, None


def laid_out(x_BCTHW: Tensor, own: torch.memory_format) -> Tensor:
    """`x_BCTHW.contiguous(memory_format=own)`; on a CPU clip by clip as a matrix, which PyTorch transposes in blocks: twice as fast."""
    other = torch.contiguous_format if own == torch.channels_last_3d else torch.channels_last_3d
    if x_BCTHW.device.type != "cpu" or x_BCTHW.is_contiguous(memory_format=own) or not x_BCTHW.is_contiguous(memory_format=other):
        return x_BCTHW.contiguous(memory_format=own)
    out = torch.empty_like(x_BCTHW, memory_format=own)
    # The one of the two with the channels last is a matrix (places, channels) of each clip, the other (channels, places).
    for target, source in zip(_matrices(out, own), _matrices(x_BCTHW, other), strict=True):
        target.copy_(source.t())
    return out


def _matrices(x_BCTHW: Tensor, layout: torch.memory_format) -> Tensor:
    """A dense matrix of each clip, a view."""
    return x_BCTHW.permute(0, 2, 3, 4, 1).flatten(1, 3) if layout == torch.channels_last_3d else x_BCTHW.flatten(2)


def relaid(x_BCTHW: Tensor, own: torch.memory_format = torch.channels_last_3d, gradient: torch.memory_format = torch.channels_last_3d) -> Tensor:
    """`x_BCTHW` laid out as `own`; `gradient`: layout in which its gradient reaches what made it. Norms and ReLUs are ten times slower on mixed layouts."""
    out: Tensor = _Relaid.apply(x_BCTHW, own, gradient)
    return out


def over_space(x_BCTHW: Tensor, function: Map) -> Tensor:
    """`function` of the pictures (B·T, C, H, W)."""
    B, _, T, _, _ = x_BCTHW.shape
    # Axes are joined with the channels last, in which form a batch of one keeps the strides by which PyTorch knows the layout.
    pictures = function(x_BCTHW.permute(0, 2, 3, 4, 1).flatten(0, 1).permute(0, 3, 1, 2))
    return torch.unflatten(pictures.permute(0, 2, 3, 1), 0, (B, T)).permute(0, 4, 1, 2, 3)


def over_time(x_BCTHW: Tensor, function: Map) -> Tensor:
    """`function` of the clips as pictures (B, C, T, H·W)."""
    clips = function(x_BCTHW.permute(0, 2, 3, 4, 1).flatten(2, 3).permute(0, 3, 1, 2))
    return torch.unflatten(clips.permute(0, 2, 3, 1), 2, x_BCTHW.shape[3:]).permute(0, 4, 1, 2, 3)


UNEVEN = 16  # channels that a vector register of any core holds
OVER = {"space": over_space, "time": over_time}


def new_norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm with the published constants."""
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.001)


class ConvNorm(nn.Module):
    """Convolution over space or time, batch norm, ReLU; in evaluation the norm is folded into the convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, axis: Axis = "space") -> None:
        super().__init__()
        self.axis: Axis = axis
        self.kernel, self.stride, self.padding = kernel, stride, kernel // 2
        sizes = (kernel, 1) if axis == "time" else (kernel, kernel)
        self.conv = nn.Conv2d(in_channels, out_channels, sizes, stride=self._pair(stride, 1), padding=self._pair(self.padding, 0), bias=False)
        self.norm = new_norm(out_channels)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, O, T', H', W')."""
        if self.reads_plain(x_BCTHW):
            return over_space(self._from_plain(x_BCTHW), self._after)
        return OVER[self.axis](x_BCTHW, self._activated)

    def reads_plain(self, x_BCTHW: Tensor) -> bool:
        """Whether `x_BCTHW` is read as it lies, channels first: heatmaps on a CPU, whose number of channels slows oneDNN down where they are last."""
        uneven = self.conv.in_channels > UNEVEN and self.conv.in_channels % UNEVEN != 0
        return self.axis == "space" and uneven and x_BCTHW.device.type == "cpu" and x_BCTHW.is_contiguous()

    def ends(self, ends: Ends) -> Ends:
        """The ends of the output."""
        return ends.pooled(self.kernel, self.stride, self.padding) if self.axis == "time" else ends

    def _from_plain(self, x_BCTHW: Tensor) -> Tensor:
        """The convolution alone, of features with the channels first, to some with the channels last."""
        weight, bias = self._folded()
        along, across = (1, self.stride, self.stride), (0, self.padding, self.padding)
        return relaid(F.conv3d(x_BCTHW, weight[:, :, None], bias, along, across), gradient=torch.contiguous_format)

    def _activated(self, x_NCHW: Tensor) -> Tensor:
        if self.norm.training:
            return self._after(convolved_over_time(self.conv, x_NCHW) if self.axis == "time" else self.conv(x_NCHW))
        weight, bias = self._folded()
        return F.relu(F.conv2d(x_NCHW, weight, bias, self.conv.stride, self._pair(self.padding, 0)), inplace=True)

    def _after(self, convolved_NOHW: Tensor) -> Tensor:
        return F.relu(self.norm(convolved_NOHW), inplace=True) if self.norm.training else F.relu(convolved_NOHW)

    def _folded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of the convolution, with the norm in them in evaluation."""
        return (self.conv.weight, None) if self.norm.training else folded(self.conv.weight, self.norm, output_axis=0)

    def _pair(self, along: int, across: int) -> tuple[int, int]:
        return (along, across) if self.axis == "time" else (along, along)


def folded(weight: Tensor, norm: nn.BatchNorm2d, *, output_axis: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what `norm` would do in evaluation to its output."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shape = [1] * weight.dim()
    shape[output_axis] = -1
    return weight * scale.view(shape), norm.bias - norm.running_mean * scale


class PointConv(ConvNorm):
    """1×1×1 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)


class SeparableConv(nn.Module):
    """A convolution over space, then one over time, each with norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1) -> None:
        super().__init__()
        self.spatial = ConvNorm(in_channels, out_channels, kernel, stride=stride)
        self.temporal = ConvNorm(out_channels, out_channels, kernel, stride=stride, axis="time")

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, O, T', H', W')."""
        out: Tensor = self.temporal(ends.filled(self.spatial(x_BCTHW), 0.0))
        return out


class MaxPool(nn.Module):
    """Max-pool over space, then over time, which is the max over both; the clip's surroundings never win."""

    def __init__(self, kernel: tuple[int, int], *, stride: tuple[int, int], padding: tuple[int, int]) -> None:
        """kernel, stride, padding: over time, over space."""
        super().__init__()
        self.kernel, self.stride, self.padding = kernel, stride, padding

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, C, T', H', W')."""
        x = over_space(x_BCTHW, lambda pictures: F.max_pool2d(pictures, self.kernel[1], self.stride[1], self.padding[1]))
        if self.kernel[0] == 1:
            return x
        # Features can be negative where another stream was added, so zeros would not do.
        shape = (self.kernel[0], 1), (self.stride[0], 1), (self.padding[0], 0)
        x = over_time(ends.filled(x, float("-inf")), lambda clips: F.max_pool2d(clips, *shape))
        return self.ends(ends).filled(x, 0.0)

    def ends(self, ends: Ends) -> Ends:
        """The ends of the output."""
        return ends.pooled(self.kernel[0], self.stride[0], self.padding[0])


class Mixed(nn.Module):
    """Four branches side by side, concatenated in their order."""

    def __init__(self, shape: MixedShape) -> None:
        super().__init__()
        into = shape.in_channels
        self.alone = PointConv(into, shape.alone)
        self.narrow = nn.ModuleList([PointConv(into, shape.narrow1), PointConv(into, shape.narrow2)])
        self.wide = nn.ModuleList([SeparableConv(shape.narrow1, shape.wide1, 3), SeparableConv(shape.narrow2, shape.wide2, 3)])
        self.pool = MaxPool((3, 3), stride=(1, 1), padding=(1, 1))
        self.pooled = PointConv(into, shape.pooled)

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, O, T, H, W)."""
        wide = [wide(narrow(x_BCTHW), ends) for narrow, wide in zip(self.narrow, self.wide, strict=True)]
        return torch.cat([self.alone(x_BCTHW), *wide, self.pooled(self.pool(x_BCTHW, ends))], dim=1)
