"""What lies before and behind a top-down pose network: the crop around a person, and SimCC's two distributions per point back in pixels.

RTMPose (Jiang et al. 2023) answers each point by a distribution over columns and one over rows, finer than its input's pixels by a constant
factor. The crop is the person's box, enlarged and made as broad as the input's shape wants, so that one factor scales both axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PADDING = 1.25  # times the box's sides: how the published models were trained
MEAN = np.array([123.675, 116.28, 103.53], dtype=np.float32)  # of red, green, blue
DEVIATION = np.array([58.395, 57.12, 57.375], dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle in pixels of the picture; right and bottom lie outside."""

    left: float
    top: float
    right: float
    bottom: float

    def union(self, other: Box) -> Box:
        return Box(left=min(self.left, other.left), top=min(self.top, other.top), right=max(self.right, other.right), bottom=max(self.bottom, other.bottom))


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The part of a picture that a network of `input_size` (width, height) sees. origin: its left upper corner; scale: picture pixels per input pixel."""

    origin: tuple[float, float]
    scale: float
    input_size: tuple[int, int]

    @classmethod
    def around(cls, box: Box, input_size: tuple[int, int], *, padding: float = PADDING) -> Crop:
        """The box's centre stays; its sides grow by `padding`, then the shorter one until the shape fits."""
        width, height = input_size
        scale = padding * max((box.right - box.left) / width, (box.bottom - box.top) / height)
        centre_x, centre_y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        return cls(origin=(centre_x - scale * width / 2, centre_y - scale * height / 2), scale=scale, input_size=input_size)

    def cut(self, pictures_THWC: np.ndarray) -> np.ndarray:
        """uint8 RGB pictures → float32 (T, 3, height, width), normalised; black outside the picture."""
        matrix = np.array([[1, 0, -self.origin[0]], [0, 1, -self.origin[1]]], dtype=np.float64) / self.scale
        out = np.empty((len(pictures_THWC), 3, self.input_size[1], self.input_size[0]), dtype=np.float32)
        for row, picture in zip(out, pictures_THWC, strict=True):
            seen = cv2.warpAffine(picture, matrix, self.input_size, flags=cv2.INTER_LINEAR)
            np.divide(seen - MEAN, DEVIATION, out=row.transpose(1, 2, 0))
        return out

    def places(self, simcc_x: np.ndarray, simcc_y: np.ndarray) -> np.ndarray:
        """SimCC distributions (T, K, bins) over columns and over rows → (T, K, 3): x, y in pixels of the picture and confidence.

        The confidence is the lower one of both peaks, as RTMPose's own; it may exceed 1 a little, and is 0 where a peak isn't above zero.
        """
        width, height = self.input_size
        x = simcc_x.argmax(-1) * (width / simcc_x.shape[-1])
        y = simcc_y.argmax(-1) * (height / simcc_y.shape[-1])
        confidence = np.maximum(np.minimum(simcc_x.max(-1), simcc_y.max(-1)), 0)
        return np.stack([self.origin[0] + self.scale * x, self.origin[1] + self.scale * y, confidence], axis=-1).astype(np.float32)
