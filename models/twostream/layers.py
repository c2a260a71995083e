"""What joins two S3D trunks: lateral connections and the pyramid (twostream.md, sections 9.1 and 9.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.s3d.layers import OVER, Axis, Ends, folded, new_norm, relaid
from models.temporal import convolved_over_time
from models.twostream import phases


class LateralDown(nn.Module):
    """RGB features → features at half the height and width, for the keypoint stream."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (7, 3, 3), stride=(1, 2, 2), padding=(3, 1, 1), bias=False)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, C, T, H/2, W/2)."""
        B, _, T, H, W = x_BCTHW.shape
        x = ends.filled(x_BCTHW, 0.0)
        return phases.halved(x, self.conv.weight) if H % 2 == W % 2 == 0 and phases.fits(x, steps=B * T, height=H // 2, width=W // 2) else _told(self.conv, x)


class LateralUp(nn.Module):
    """Keypoint features → features at twice the height and width, for the RGB stream."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(channels, channels, (7, 3, 3), stride=(1, 2, 2), padding=(3, 1, 1), output_padding=(0, 1, 1), bias=False)
        nn.init.kaiming_normal_(self.conv.weight)

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, C, T, 2H, 2W)."""
        B, _, T, H, W = x_BCTHW.shape
        x = ends.filled(x_BCTHW, 0.0)
        return phases.doubled(x, self.conv.weight) if phases.fits(x, steps=B * T, height=H, width=W) else _told(self.conv, x)


def _told(conv: nn.Module, x_BCTHW: Tensor) -> Tensor:
    """A lateral convolution; on a CPU in plain layout, since its weight is larger than the features and would be laid out anew for each call."""
    layout = torch.contiguous_format if x_BCTHW.device.type == "cpu" else torch.channels_last_3d
    out = conv(relaid(x_BCTHW, own=layout))
    return relaid(out, gradient=layout)


class Exchange(nn.Module):
    """What the streams tell one another after a block; each speaks before it has listened."""

    def __init__(self, channels: int, *, keypoint_to_rgb: bool, rgb_to_keypoint: bool) -> None:
        super().__init__()
        self.to_rgb = LateralUp(channels) if keypoint_to_rgb else None
        self.to_keypoint = LateralDown(channels) if rgb_to_keypoint else None

    def forward(self, rgb_BCTHW: Tensor, keypoint_BCTHW: Tensor, ends: Ends) -> tuple[Tensor, Tensor]:
        """Features of both streams, with what the other told added."""
        rgb = rgb_BCTHW if self.to_rgb is None else rgb_BCTHW + self.to_rgb(keypoint_BCTHW, ends)
        keypoint = keypoint_BCTHW if self.to_keypoint is None else keypoint_BCTHW + self.to_keypoint(rgb_BCTHW, ends)
        return rgb, keypoint


class UpConvNorm(nn.Module):
    """Transposed convolution of kernel 3 over space or time, batch norm, ReLU; in evaluation the norm is folded into the convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, axis: Axis) -> None:
        super().__init__()
        self.axis: Axis = axis
        kernel, self.stride = ((3, 3), (stride, stride)) if axis == "space" else ((3, 1), (stride, 1))
        self.padding, self.extra = ((1, 1), (stride - 1, stride - 1)) if axis == "space" else ((1, 0), (stride - 1, 0))
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, kernel, stride=self.stride, padding=self.padding, output_padding=self.extra, bias=False)
        self.norm = new_norm(out_channels)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """(B, C, T, H, W) → (B, O, T, sH, sW), or (B, O, sT, H, W)."""
        return OVER[self.axis](x_BCTHW, self._activated)

    def _activated(self, x_NCHW: Tensor) -> Tensor:
        if self.norm.training:
            convolved = convolved_over_time(self.conv, x_NCHW) if self.axis == "time" else self.conv(x_NCHW)
            return F.relu(self.norm(convolved), inplace=True)
        weight, bias = folded(self.conv.weight, self.norm, output_axis=1)
        return F.relu(F.conv_transpose2d(x_NCHW, weight, bias, self.stride, self.padding, self.extra), inplace=True)


class Upsample(nn.Module):
    """Features of a block → features of the size and width of the block before it."""

    def __init__(self, in_channels: int, out_channels: int, *, time_stride: int) -> None:
        super().__init__()
        self.spatial = UpConvNorm(in_channels, out_channels, stride=2, axis="space")
        self.temporal = UpConvNorm(out_channels, out_channels, stride=time_stride, axis="time")

    def forward(self, x_BCTHW: Tensor, ends: Ends) -> Tensor:
        """(B, C, T, H, W) → (B, O, time_stride·T, 2H, 2W); `ends` are those of the input."""
        out: Tensor = self.temporal(ends.filled(self.spatial(x_BCTHW), 0.0))
        return out


class Pyramid(nn.Module):
    """Top-down sums over blocks 2, 3 and 4, then the mean over space of each."""

    def __init__(self, channels: tuple[int, int, int]) -> None:
        """channels: of blocks 2, 3 and 4."""
        super().__init__()
        self.upsamples = nn.ModuleList([Upsample(channels[2], channels[1], time_stride=2), Upsample(channels[1], channels[0], time_stride=1)])

    def forward(self, block2: Tensor, block3: Tensor, block4: Tensor, ends: tuple[Ends, Ends]) -> tuple[Tensor, Tensor]:
        """Features of three blocks → pooled levels 0 and 1, (B, T/2, C) each; level 2 is block 4 as it is. ends: of blocks 3 and 4."""
        level1 = relaid(block3 + self.upsamples[0](block4, ends[1]))
        level0 = relaid(block2 + self.upsamples[1](level1, ends[0]))
        return pooled(level0), pooled(level1)


def pooled(x_BCTHW: Tensor) -> Tensor:
    """Mean over space, (B, C, T, H, W) → (B, T, C)."""
    return torch.mean(x_BCTHW, (3, 4)).transpose(1, 2)
