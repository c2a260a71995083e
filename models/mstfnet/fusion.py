"""MSTFNet's spatio-temporal fusion block (mstfnet.md, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.vac.clips import Clips
from models.vac.layers import normed, over_time, spatial_conv, temporal_conv

KERNELS = (3, 5)  # of the depthwise convolutions over time, and of those over space


class Fusion(nn.Module):
    """x + gate · (four depthwise views of x, weighed for each clip): (N, C, H, W) → (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.temporal = nn.ModuleList(temporal_conv(channels, channels, kernel, groups=channels) for kernel in KERNELS)
        self.spatial = nn.ModuleList(spatial_conv(channels, channels, kernel, groups=channels) for kernel in KERNELS)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2 * len(KERNELS)))
        num_views = len(self.norms)
        self.calibration = nn.Sequential(nn.Conv2d(channels, channels // 8, 1), nn.ReLU(), nn.Conv2d(channels // 8, num_views, 1), nn.Softmax(dim=1))
        self.gate = nn.Sequential(nn.Conv2d(2 * channels, channels // 2, 1), nn.ReLU(), nn.Conv2d(channels // 2, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor, clips: Clips) -> Tensor:
        weights_BV11 = self.calibration(clips.reduced(lambda clip: clip.mean((1, 3, 4)), x)[..., None, None])
        fused = torch.zeros_like(x)
        for view, weight in zip(self.views(x, clips), weights_BV11.unbind(1), strict=True):
            fused = torch.addcmul(fused, view, clips.spread(weight)[:, None])
        out: Tensor = x + self.gate(torch.cat([x, fused], dim=1)) * fused
        return out

    def views(self, x: Tensor, clips: Clips) -> list[Tensor]:
        """x along time and over space, by a small and a larger kernel each."""
        products = [over_time(conv, x, clips) for conv in self.temporal if isinstance(conv, nn.Conv2d)] + [conv(x) for conv in self.spatial]
        return [normed(norm, product) for norm, product in zip(self.norms, products, strict=True)]
