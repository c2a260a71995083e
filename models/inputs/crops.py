"""Crops of pictures and heatmaps, and bilinear samples of an axis, by the published rules (twostream.md, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Size = tuple[int, int]  # height, width
ATTEMPTS = 10  # of the random crop, before it falls back to a central one


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A rectangle in pixels; where it reaches beyond the picture there is black."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, video: Size, heatmap: Size) -> Crop:
        """The same rectangle on a map of another size, truncated to whole pixels."""
        rows, columns = heatmap[0] / video[0], heatmap[1] / video[1]
        return Crop(top=int(self.top * rows), left=int(self.left * columns), height=int(self.height * rows), width=int(self.width * columns))


def whole(size: Size) -> Crop:
    """No crop."""
    return Crop(top=0, left=0, height=size[0], width=size[1])


def central(size: Size, crop: Size) -> Crop:
    """The central `crop`, with black around the picture where it is larger."""
    return Crop(top=_start(size[0], crop[0]), left=_start(size[1], crop[1]), height=crop[0], width=crop[1])


def central_on_map(video: Size, heatmap: Size, crop: int) -> Crop:
    """The crop of a map that goes with the central square `crop` of the video."""
    return central(heatmap, (int(crop * heatmap[0] / video[0]), int(crop * heatmap[1] / video[1])))


def _start(size: int, crop: int) -> int:
    return -((crop - size) // 2) if crop > size else round((size - crop) / 2)  # round: half to even, as published


def random_crop(size: Size, generator: np.random.Generator, *, area: tuple[float, float] = (0.7, 1.0), ratio: tuple[float, float] = (0.75, 1.3)) -> Crop:
    """A rectangle of a random share of the area and a random aspect ratio (width over height, uniform in its logarithm), anywhere inside.

    After ten rectangles that don't fit: the largest central one within the ratios. The distribution is that of torchvision's RandomResizedCrop.
    """
    for _ in range(ATTEMPTS):
        target = size[0] * size[1] * generator.uniform(*area)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        height, width = round(math.sqrt(target / aspect)), round(math.sqrt(target * aspect))
        if 0 < height <= size[0] and 0 < width <= size[1]:
            top, left = int(generator.integers(0, size[0] - height + 1)), int(generator.integers(0, size[1] - width + 1))
            return Crop(top=top, left=left, height=height, width=width)
    own = size[1] / size[0]
    height, width = size
    if own < ratio[0]:
        height = round(width / ratio[0])
    elif own > ratio[1]:
        width = round(height * ratio[1])
    return Crop(top=(size[0] - height) // 2, left=(size[1] - width) // 2, height=height, width=width)


def bilinear_taps(start: int, length: int, size: int, out: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Positions (2, out) on an axis of `size` pixels and their weights, for `length` pixels from `start` resized to `out` (no anti-aliasing).

    A position beyond the axis has weight 0. As `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` along one axis.
    """
    source = ((torch.arange(out, device=device, dtype=torch.float32) + 0.5) * (length / out) - 0.5).clamp_min(0)
    lower = source.floor().clamp_max(length - 1)
    share = source - lower
    positions = start + torch.stack([lower, (lower + 1).clamp_max(length - 1)])
    weights = torch.stack([1 - share, share])
    return positions, weights * ((positions >= 0) & (positions < size))
