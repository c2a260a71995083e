"""SlowFast: a pathway that sees every fourth frame with many channels, and one that sees all frames with few (Feichtenhofer et al. 2019)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.slowfastsign.config import BLOCKS, CONCATENATED, FAST_KERNELS, SLOW_KERNELS, STRIDES, SlowFastOptions
from models.vac.clips import Clips
from models.vac.layers import channels_last, init_convs, normed, over_time, spatial_conv, temporal_conv

STEM_TAPS = 5  # frames that the fast stem sees


class Pathways(NamedTuple):
    """Packed frames of both pathways, (N/4, C, H, W) and (N, C/8, H, W)."""

    slow: Tensor
    fast: Tensor


class PathwayClips(NamedTuple):
    """Where clips begin and end in them."""

    slow: Clips
    fast: Clips


class Bottleneck(nn.Module):
    """1×1 or over time, 3×3, 1×1, with a residual."""

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, stride: int, kernel: int) -> None:
        super().__init__()
        changes = in_channels != out_channels or stride != 1
        self.shortcut = spatial_conv(in_channels, out_channels, 1, stride=stride) if changes else None
        self.shortcut_norm = nn.BatchNorm2d(out_channels) if changes else None
        self.a = temporal_conv(in_channels, inner, kernel) if kernel > 1 else spatial_conv(in_channels, inner, 1)
        self.a_norm = nn.BatchNorm2d(inner)
        self.b = spatial_conv(inner, inner, 3, stride=stride)
        self.b_norm = nn.BatchNorm2d(inner)
        self.c = spatial_conv(inner, out_channels, 1)
        self.c_norm = nn.BatchNorm2d(out_channels)
        self.sees_time = kernel > 1

    def forward(self, x: Tensor, clips: Clips) -> Tensor:
        """(N, C, H, W) → (N, O, H/stride, W/stride)."""
        y = normed(self.a_norm, over_time(self.a, x, clips) if self.sees_time else self.a(x))
        y = normed(self.b_norm, self.b(y))
        shortcut = x if self.shortcut is None or self.shortcut_norm is None else normed(self.shortcut_norm, self.shortcut(x), relu=False)
        return normed(self.c_norm, self.c(y), shortcut)


class Stage(nn.Module):
    """The blocks of one stage, both pathways."""

    def __init__(self, stage: int, options: SlowFastOptions) -> None:
        super().__init__()
        fast = options.width // options.beta_inverse
        before = fast * (1 if stage == 0 else 2 * 2**stage)  # channels of the fast pathway before fusion
        to_slow = options.fusion_ratio * before if options.fusion in CONCATENATED else 0
        to_fast = before if options.fusion == "bi_cat" else 0
        self.slow = self._blocks(stage, options, options.width, before * options.beta_inverse + to_slow, SLOW_KERNELS[stage])
        self.fast = self._blocks(stage, options, fast, before + to_fast, FAST_KERNELS[stage])

    @staticmethod
    def _blocks(stage: int, options: SlowFastOptions, width: int, before: int, kernel: int) -> nn.ModuleList:
        inner = width * 2**stage
        return nn.ModuleList(
            Bottleneck(
                before if block == 0 else 4 * inner,
                inner,
                4 * inner,
                stride=STRIDES[stage] if block == 0 else 1,
                kernel=kernel if block < options.temporal_blocks[stage] else 1,
            )
            for block in range(BLOCKS[options.depth][stage])
        )

    def forward(self, x: Pathways, clips: PathwayClips) -> Pathways:
        slow, fast = x
        for block in self.slow:
            slow = block(slow, clips.slow)
        for block in self.fast:
            fast = block(fast, clips.fast)
        return Pathways(slow, fast)


class Fusion(nn.Module):
    """Each pathway gains what the other shows, both from what they held before.

    bi_add adds by weights that start at 0; bi_add2 mixes w·own + (1 − w)·other, w from 1; bi_cat concatenates; fast_to_slow only that way.
    """

    def __init__(self, fast_channels: int, options: SlowFastOptions) -> None:
        super().__init__()
        self.kind, self.alpha = options.fusion, options.alpha
        slow_channels = fast_channels * options.beta_inverse
        if self.kind not in CONCATENATED:
            start = float(self.kind == "bi_add2")
            self.slow_weight, self.fast_weight = nn.Parameter(torch.full((1,), start)), nn.Parameter(torch.full((1,), start))
        shown = fast_channels * options.fusion_ratio if self.kind in CONCATENATED else slow_channels
        self.to_slow = temporal_conv(fast_channels, shown, options.fusion_kernel, stride=options.alpha)
        self.to_slow_norm = nn.BatchNorm2d(shown)
        if self.kind != "fast_to_slow":
            self.to_fast = spatial_conv(slow_channels, fast_channels, 1)
            self.to_fast_norm = nn.BatchNorm2d(fast_channels)

    def forward(self, x: Pathways, clips: PathwayClips) -> Pathways:
        to_slow = normed(self.to_slow_norm, over_time(self.to_slow, x.fast, clips.fast))
        if self.kind == "fast_to_slow":
            return Pathways(torch.cat([x.slow, to_slow], dim=1), x.fast)
        to_fast = normed(self.to_fast_norm, self.to_fast(x.slow))
        if self.kind == "bi_cat":
            return Pathways(torch.cat([x.slow, to_slow], dim=1), torch.cat([x.fast, repeated(to_fast, self.alpha)], dim=1))
        if self.kind == "bi_add":
            return Pathways(x.slow + self.slow_weight * to_slow, plus_repeated(x.fast, self.fast_weight * to_fast, self.alpha))
        slow = self.slow_weight * x.slow + (1 - self.slow_weight) * to_slow
        return Pathways(slow, plus_repeated(self.fast_weight * x.fast, (1 - self.fast_weight) * to_fast, self.alpha))


def repeated(slow: Tensor, times: int) -> Tensor:
    """Each frame of `slow` (N/times, C, H, W) `times` times over."""
    return channels_last(slow.repeat_interleave(times, dim=0))


def plus_repeated(x: Tensor, slow: Tensor, times: int) -> Tensor:
    """x (N, C, H, W) plus each frame of `slow` (N/times, C, H, W), repeated."""
    by_slow_frame = x.permute(0, 2, 3, 1).unflatten(0, (-1, times))
    out: Tensor = (by_slow_frame + slow.permute(0, 2, 3, 1)[:, None]).flatten(0, 1).permute(0, 3, 1, 2)
    return out


class Stem(nn.Module):
    """Both stems, with their pools."""

    def __init__(self, width: int, fast_width: int) -> None:
        super().__init__()
        self.slow = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.slow_norm = nn.BatchNorm2d(width)
        self.fast = nn.Conv3d(3, fast_width, (STEM_TAPS, 7, 7), stride=(1, 2, 2), padding=(STEM_TAPS // 2, 3, 3), bias=False)
        self.fast_norm = nn.BatchNorm2d(fast_width)

    def forward(self, x: Pathways, clips: PathwayClips) -> Pathways:
        """(N/4, 3, H, W), (N, 3, H, W) → a fourth of the size."""
        slow = normed(self.slow_norm, self.slow(channels_last(x.slow)))
        fast = normed(self.fast_norm, self.fast_product(x.fast, clips.fast))
        return Pathways(*(F.max_pool2d(value, 3, stride=2, padding=1) for value in (slow, fast)))

    def fast_product(self, frames_NCHW: Tensor, clips: Clips) -> Tensor:
        """The fast stem's convolution: its taps over time one after another as channels of one over space, then added where they belong."""
        weight = self.fast.weight
        kernels = weight.transpose(1, 2).transpose(0, 1).flatten(0, 1)  # (taps·O, 3, 7, 7)
        taps = F.conv2d(channels_last(frames_NCHW), kernels, stride=2, padding=3)
        summed = clips.each(lambda clip: _shifted_sum(clip.unflatten(4, (STEM_TAPS, len(weight)))), taps.permute(0, 2, 3, 1))
        return summed.permute(0, 3, 1, 2)


def _shifted_sum(taps_BTHWKO: Tensor) -> Tensor:
    """Tap k of frame t + k − 2 goes to frame t."""
    num_frames, margin = taps_BTHWKO.shape[1], STEM_TAPS // 2
    out = taps_BTHWKO[..., margin, :].clone()
    for tap in range(STEM_TAPS):
        shift = tap - margin
        first, last = max(0, -shift), min(num_frames, num_frames - shift)
        if shift and first < last:
            out[:, first:last] += taps_BTHWKO[:, first + shift : last + shift, ..., tap, :]
    return out


class Backbone(nn.Module):
    """Frames → features: of the slow pathway, each frame's repeated, then of the fast one."""

    def __init__(self, options: SlowFastOptions) -> None:
        super().__init__()
        self.alpha = options.alpha
        slow, fast = options.width, options.width // options.beta_inverse
        self.slow_size, self.fast_size = 32 * slow, 32 * fast
        self.stem = Stem(slow, fast)
        self.stages = nn.ModuleList(Stage(stage, options) for stage in range(len(STRIDES)))
        widths = [1, *(4 * 2**stage for stage in range(3))]  # times the stem's, before each stage
        self.fusions = nn.ModuleList(Fusion(fast * width, options) for width in widths)
        init_convs(self)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.c_norm.weight)

    def forward(self, frames_NCHW: Tensor, clips: Clips) -> Tensor:
        """(N, 3, H, W) → (N, slow_size + fast_size); every clip's frames are a multiple of alpha."""
        both = PathwayClips(clips.strided(self.alpha), clips)
        x = self.stem(Pathways(frames_NCHW[:: self.alpha], frames_NCHW), both)
        for fusion, stage in zip(self.fusions, self.stages, strict=True):
            x = stage(fusion(x, both), both)
        return torch.cat([x.slow.mean((2, 3)).repeat_interleave(self.alpha, dim=0), x.fast.mean((2, 3))], dim=1)
