"""Encoded pictures of several clips → one batch of frames, of one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.frames import EncodedPictures

LANCZOS = cv2.INTER_LANCZOS4


class Fit(Protocol):
    """Brings pictures (N, H, W, 3) to the size that a batch has."""

    def __call__(self, pictures: np.ndarray, /) -> np.ndarray: ...


def stacked(clips: Sequence[Clip], frames: Sequence[np.ndarray], size: tuple[int, int], fit: Fit, *, always_fit: bool = False) -> Tensor:
    """uint8 (B, T, 3, H, W) of the frames `frames` of each clip, in memory channels last; beyond a clip's frames its last one repeats.

    size: height and width that `fit` brings pictures to; always_fit: those that have it, too.
    Raises RecordingError, with the clip's name, for a picture that can't be decoded.
    """
    height, width = size
    pixels = np.empty((len(clips), max(map(len, frames)), height, width, 3), dtype=np.uint8)
    for row, clip, indices in zip(pixels, clips, frames, strict=True):
        assert clip.frames is not None
        try:
            if isinstance(clip.frames, EncodedPictures) and clip.frames.size == (width, height) and not always_fit:
                clip.frames.decode_into(row[: len(indices)], indices)
            else:
                row[: len(indices)] = fit(clip.frames.decode(indices))
        except RecordingError as error:
            raise RecordingError(f"{clip.name}: {error}") from None
        row[len(indices) :] = row[len(indices) - 1]
    return torch.from_numpy(pixels).permute(0, 1, 4, 2, 3)


def resized_pictures(pictures: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """uint8 (N, H, W, 3) of height and width `size`, by an interpolation of OpenCV's; as they are where they have it."""
    height, width = size
    if pictures.shape[1:3] == (height, width):
        return pictures
    return np.stack([cv2.resize(picture, (width, height), interpolation=interpolation) for picture in pictures])


def bicubic_pictures(pictures: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (N, H, W, 3) of height and width `size` by Pillow's bicubic filter, as TwoStream's code reads CSL-Daily; as they are where they have it.

    It is no interpolation of OpenCV's: where pictures shrink it looks at all that a pixel covers.
    """
    height, width = size
    if pictures.shape[1:3] == (height, width):
        return pictures
    return np.stack([np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)) for picture in pictures])


def frames_problem(clip: Clip, least: int) -> str | None:
    """Why a clip's pictures can't be used by a recogniser that needs `least` of them, as `kind: detail` in one line; None where they can."""
    if clip.frames is None:
        return "no pictures: this recogniser reads video, and the clip has keypoints only"
    found = clip.frames.num_frames
    if found != clip.num_frames:
        return f"frames and keypoints differ: {found} pictures, {clip.num_frames} rows of keypoints"
    if found == 0:
        return "no frames: the video is empty"
    if found < least:
        return f"too short: {found} frames found, at least {least} needed"
    return None
