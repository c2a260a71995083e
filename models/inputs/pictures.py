"""Frames → what an RGB stream reads, as batched operations on the device that the frames lie on (twostream.md, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.inputs.crops import Crop, Size, whole

GREY = (0.2989, 0.587, 0.114)  # weights of red, green, blue
JITTER = (0.4, 0.4, 0.4, 0.1)  # most change of brightness, contrast, saturation; of the hue, in turns of the colour circle
Step = Callable[[Tensor], Tensor]


def unit_range(frames_BTCHW: Tensor) -> Tensor:
    """uint8 frames as float32 in [0, 1]; float ones as they are."""
    return frames_BTCHW.float() / 255 if frames_BTCHW.dtype == torch.uint8 else frames_BTCHW


def resized(frames_BTCHW: Tensor, out: Size, crop: Crop | None = None) -> Tensor:
    """`crop` of the frames (all where None; black beyond the picture) resized to `out`, bilinearly without anti-aliasing; float (B, T, C, H, W)."""
    frames = unit_range(cropped(frames_BTCHW, crop or whole(_size(frames_BTCHW))))
    pictures = F.interpolate(frames.flatten(0, 1), out, mode="bilinear", align_corners=False, antialias=False)
    return pictures.view(*frames.shape[:2], *pictures.shape[1:])


def cropped(frames_BTCHW: Tensor, crop: Crop) -> Tensor:
    """A rectangle of the frames (B, T, C, H, W), black where it reaches beyond them."""
    height, width = _size(frames_BTCHW)
    bottom, right = crop.top + crop.height, crop.left + crop.width
    inside = frames_BTCHW[..., max(crop.top, 0) : bottom, max(crop.left, 0) : right]
    around = (max(-crop.left, 0), max(right - width, 0), max(-crop.top, 0), max(bottom - height, 0))
    return F.pad(inside, around) if any(around) else inside


def stream_input(frames_BTCHW: Tensor) -> Tensor:
    """RGB frames (B, T, 3, H, W) in [0, 1] → BGR in [−1, 1] as (B, 3, T, H, W), the published range and channel order, in memory channels last."""
    return ((frames_BTCHW.flip(2) - 0.5) / 0.5).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """A change of colours: factors of brightness, contrast and saturation, hue in turns of the colour circle, and in which order they are applied."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]

    @classmethod
    def drawn(cls, generator: np.random.Generator, *, limits: tuple[float, float, float, float] = JITTER) -> Jitter:
        """limits: most change of each, of the first three as a factor 1 ± limit. The distribution is that of torchvision's ColorJitter."""
        brightness, contrast, saturation = (float(generator.uniform(max(0.0, 1 - limit), 1 + limit)) for limit in limits[:3])
        hue = float(generator.uniform(-limits[3], limits[3]))
        order = tuple(int(index) for index in generator.permutation(len(limits)))
        return cls(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, order=order)

    def __call__(self, frames_BTCHW: Tensor) -> Tensor:
        """Float RGB in [0, 1] → the same, all frames changed alike."""
        steps: tuple[Step, ...] = (
            lambda frames: brightened(frames, self.brightness),
            lambda frames: contrasted(frames, self.contrast),
            lambda frames: saturated(frames, self.saturation),
            lambda frames: hue_turned(frames, self.hue),
        )
        for index in self.order:
            frames_BTCHW = steps[index](frames_BTCHW)
        return frames_BTCHW


def brightened(frames_BTCHW: Tensor, factor: float) -> Tensor:
    """Each channel times `factor`, at most 1."""
    return (frames_BTCHW * factor).clamp(0, 1)


def contrasted(frames_BTCHW: Tensor, factor: float) -> Tensor:
    """Away from each frame's mean grey (factor above 1) or towards it."""
    return _blended(frames_BTCHW, _grey(frames_BTCHW).mean((-3, -2, -1), keepdim=True), factor)


def saturated(frames_BTCHW: Tensor, factor: float) -> Tensor:
    """Away from each pixel's grey (factor above 1) or towards it."""
    return _blended(frames_BTCHW, _grey(frames_BTCHW), factor)


def hue_turned(frames_BTCHW: Tensor, turns: float) -> Tensor:
    """Hues moved by `turns` of the colour circle; value and saturation (of HSV) stay."""
    red, green, blue = frames_BTCHW.unbind(-3)
    value, least = frames_BTCHW.amax(-3), frames_BTCHW.amin(-3)
    chroma = value - least
    safe = torch.where(chroma == 0, torch.ones_like(chroma), chroma)
    sixth = torch.where(value == red, (green - blue) / safe, torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4))
    hue = (sixth / 6 + turns).remainder(1.0)
    # A channel falls from the value by the chroma where the hue is far from it: value − chroma·clip(min(k, 4 − k), 0, 1), k = (n + 6·hue) mod 6.
    ramps = [(n + 6 * hue).remainder(6.0) for n in (5, 3, 1)]
    channels = [value - chroma * torch.minimum(ramp, 4 - ramp).clamp(0, 1) for ramp in ramps]
    return torch.stack(channels, dim=-3)


def _blended(frames: Tensor, other: Tensor, factor: float) -> Tensor:
    return (factor * frames + (1 - factor) * other).clamp(0, 1)


def _grey(frames_BTCHW: Tensor) -> Tensor:
    red, green, blue = frames_BTCHW.unbind(-3)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(-3)


def _size(frames_BTCHW: Tensor) -> Size:
    return frames_BTCHW.shape[-2], frames_BTCHW.shape[-1]
