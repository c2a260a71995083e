"""MSTFNet's hierarchical feature alignment: auxiliary heads on three stages of the backbone, in training only (mstfnet.md, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.vac.clips import Clips
from models.vac.layers import StepConv, normed, over_time, temporal_conv

NUM_LEVELS = 3
REDUCTION = 16
GROUPS = 32


class Attention(nn.Module):
    """x · sigmoid(a + b), a by channel for the whole clip, b by place and frame: (N, C, H, W) → (N, C, H, W).

    Both terms of a, and b, pass a sigmoid of their own before: factors lie between 0.5 and 0.953. So the published weights were trained.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // REDUCTION, bias=False)
        self.excite = nn.Linear(channels // REDUCTION, channels, bias=False)
        groups = min(GROUPS, channels // 4)
        self.inner = temporal_conv(channels, channels // 4, 3, groups=groups, bias=True)
        self.norm = nn.BatchNorm2d(channels // 4)
        self.outer = temporal_conv(channels // 4, channels, 3, groups=groups, bias=True)

    def forward(self, x: Tensor, clips: Clips) -> Tensor:
        by_channel = sum(self._channels(clips.reduced(pool, x)) for pool in (_mean, _largest))
        assert isinstance(by_channel, Tensor)
        by_place = torch.sigmoid(over_time(self.outer, normed(self.norm, over_time(self.inner, x, clips)), clips))
        return x * torch.sigmoid(clips.spread(by_channel)[:, :, None, None] + by_place)

    def _channels(self, pooled_BC: Tensor) -> Tensor:
        return torch.sigmoid(self.excite(F.relu(self.squeeze(pooled_BC))))


def _mean(x_BTCHW: Tensor) -> Tensor:
    return x_BTCHW.mean((1, 3, 4))


def _largest(x_BTCHW: Tensor) -> Tensor:
    return x_BTCHW.amax((1, 3, 4))


class Levels(nn.Module):
    """Stages 2, 3 and 4 → features over time (B, S, hidden) each; all but the attention is common to the levels.

    unused: the published network registers a convolution on stage 1 that nothing reads; its weights are in every checkpoint.
    """

    def __init__(self, width: int, level_size: int, hidden_size: int, *, shared: bool, dropout: float = 0.3) -> None:
        super().__init__()
        channels = 8 * width
        self.attentions = nn.ModuleList(Attention(channels) for _ in range(1 if shared else NUM_LEVELS))
        self.unused = nn.Conv2d(width, channels, 2, stride=2)
        self.reduce = nn.ModuleList((nn.Conv2d(2 * width, channels, 4, stride=4), nn.Conv2d(4 * width, channels, 2, stride=2)))
        self.norms = nn.ModuleList((nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)))
        self.features = nn.Linear(channels, level_size)
        self.temporal = nn.Sequential(
            *(StepConv(level_size, hidden_size, 5), nn.BatchNorm1d(hidden_size), nn.ReLU(), nn.Dropout(dropout), nn.MaxPool1d(2)),
            *(StepConv(hidden_size, hidden_size, 5), nn.BatchNorm1d(hidden_size), nn.ReLU(), nn.MaxPool1d(2)),
        )

    def forward(self, stages: Sequence[Tensor], clips: Clips) -> list[Tensor]:
        """Outputs of the stages 2, 3, 4 before their fusion blocks."""
        reduced = [normed(norm, conv(stage)) for norm, conv, stage in zip(self.norms, self.reduce, stages, strict=False)]
        pooled = [self._attended(level, x, clips).mean((2, 3)) for level, x in enumerate([*reduced, stages[-1]])]
        features_BTF = torch.cat([clips.padded(self.features(level)) for level in pooled])
        return list(self._over_time(features_BTF.transpose(1, 2)).transpose(1, 2).chunk(NUM_LEVELS))

    def _attended(self, level: int, x: Tensor, clips: Clips) -> Tensor:
        out: Tensor = self.attentions[level % len(self.attentions)](x, clips)
        return out

    def _over_time(self, x: Tensor) -> Tensor:
        """The layers over time of all levels at once, since for so few steps reading a weight is what takes time; a batch norm sees one level."""
        for layer in self.temporal:
            x = torch.cat([layer(level) for level in x.chunk(NUM_LEVELS)]) if isinstance(layer, nn.modules.batchnorm._BatchNorm) else layer(x)
        return x
