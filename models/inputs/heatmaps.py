"""Keypoints → heatmaps on the device that the keypoints lie on (twostream.md, sections 2.4 and 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.inputs.crops import Crop, Size, bilinear_taps, whole

# COCO-WholeBody indices
PARTS = {"pose": range(11), "hand": range(91, 133), "mouth": range(71, 91), "face_others": range(23, 71)}
STEPS = {"_half": 2, "_1_3": 3}  # every how many points of a part are kept
PUBLISHED_PARTS = ("pose", "mouth_half", "hand", "face_others_1_3")


def selected_points(parts: Sequence[str] = PUBLISHED_PARTS) -> tuple[int, ...]:
    """Indices into 133 points of the named parts, in alphabetical order of their names. Raises ValueError for a name that isn't one."""
    return tuple(point for name in sorted(parts) for point in _part(name))


def _part(name: str) -> Sequence[int]:
    ending = next((ending for ending in STEPS if name.endswith(ending)), "")
    part = name.removesuffix(ending)
    if part not in PARTS or (ending and part == "pose"):
        raise ValueError(f"{name!r} is no part of a body: {', '.join(PARTS)}, all but pose also with {' or '.join(STEPS)}")
    return PARTS[part][:: STEPS.get(ending, 1)]


def heatmaps(points_BTKC: Tensor, frame_size: Size, *, sigma: float, map_size: Size | None = None, crop: Crop | None = None, out: Size | None = None) -> Tensor:
    """Gaussians of peak 1 around points (B, T, K, ≥2), x and y in pixels of a frame of `frame_size` → (B, K, T, H, W) in [0, 1].

    They stand on a map of `map_size` (that of the frame where None), in whose pixels sigma counts; `crop` of it (all where None), with zeros around
    it, is resized to `out` bilinearly without anti-aliasing (the crop's own size where None). A map is the product of one profile over rows
    and one over columns, and so is whatever is cropped and resized from it: no map is ever built at its own size. In memory channels are last, but on a CPU.
    """
    map_size = map_size or frame_size
    crop = crop or whole(map_size)
    out = out or (crop.height, crop.width)
    x, y = points_BTKC[..., 0] * (map_size[1] / frame_size[1]), points_BTKC[..., 1] * (map_size[0] / frame_size[0])
    rows = _profile(y, crop.top, crop.height, map_size[0], out[0], sigma)
    columns = _profile(x, crop.left, crop.width, map_size[1], out[1], sigma)
    if rows.device.type != "cpu":
        return (rows[:, :, :, None] * columns[:, :, None]).permute(0, 4, 1, 2, 3)
    by_row, by_column = (profile.permute(0, 3, 1, 2).contiguous() for profile in (rows, columns))
    return by_row[..., None] * by_column[..., None, :]


def _profile(centre_BTK: Tensor, start: int, length: int, size: int, out: int, sigma: float) -> Tensor:
    """The Gaussian along one axis, cropped and resized: (B, T, K) → (B, T, out, K)."""
    positions, weights = bilinear_taps(start, length, size, out, centre_BTK.device)
    distance = positions[:, :, None] - centre_BTK[:, :, None, None]
    return (torch.exp(distance.square() / (-2 * sigma**2)) * weights[:, :, None]).sum(2)
