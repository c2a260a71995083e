"""Frames as they arrive → what these networks read: padded as published, normalised on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.vac.temporal import TemporalLayout


class FrameBatch(Protocol):
    """What these networks read of a batch: frames (B, T, 3, H, W) uint8, and how many of them are each clip's, lengths (B,) int64."""

    @property
    def frames(self) -> Tensor | None: ...

    @property
    def lengths(self) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class PixelScale:
    """(x / 255 − mean) / deviation of a pixel x of 0 to 255, alike for the three colours."""

    mean: float
    deviation: float

    def __call__(self, pixels: Tensor, dtype: torch.dtype) -> Tensor:
        """uint8 → `dtype`, of the same shape."""
        factor = 1 / (255 * self.deviation)
        return pixels.to(dtype, copy=True).mul_(factor).sub_(self.mean / self.deviation)


UNIT = PixelScale(mean=0.5, deviation=0.5)  # x / 127.5 − 1: VAC, CorrNet, MSTFNet


def network_input(batch: FrameBatch, layout: TemporalLayout, scale: PixelScale, *, frame_size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Normalised frames (B, T', 3, H, W), padded by the layout's rule, and the clips' padded lengths (B,). Raises ValueError for another frame size."""
    frames = batch.frames
    if frames is None:
        raise ValueError("a batch without frames: this network reads frames")
    check_frames(frames, frame_size)
    index = layout.frame_index(batch.lengths.to(frames.device))
    clips = torch.arange(len(frames), device=frames.device)[:, None]
    return scale(frames[clips, index], dtype), layout.padded_length(batch.lengths)


def check_frames(frames_BTCHW: Tensor, frame_size: int) -> None:
    """Raises ValueError for frames of another layout than (B, T, 3, frame_size, frame_size)."""
    if frames_BTCHW.dim() != 5 or frames_BTCHW.shape[2:] != (3, frame_size, frame_size):
        raise ValueError(f"frames {tuple(frames_BTCHW.shape)}: this network reads (clips, frames, 3, {frame_size}, {frame_size})")
