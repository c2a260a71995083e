"""Pictures of a clip, encoded until someone asks for some of them: temporal sampling comes first, and only what it picked is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from models.errors import RecordingError


class Frames(Protocol):
    """The pictures of one clip, in the order of its keypoints."""

    @property
    def num_frames(self) -> int: ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures as stored, in pixels; keypoints stay in those of the source."""

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 RGB (N, H, W, 3) of the frames at `indices`, in their order; a frame may be asked for twice. Raises RecordingError for damaged ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPictures:
    """Pictures of one size, each encoded by itself (JPEG, WebP or PNG)."""

    pictures: Sequence[bytes]
    size: tuple[int, int]

    @property
    def num_frames(self) -> int:
        return len(self.pictures)

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        width, height = self.size
        decoded = np.empty((len(indices), height, width, 3), dtype=np.uint8)
        previous = -1
        for row, index in enumerate(indices):
            if index == previous:  # resampling repeats neighbours
                decoded[row] = decoded[row - 1]
            else:
                decoded[row] = self._picture(int(index))
            previous = index
        return decoded

    def _picture(self, index: int) -> np.ndarray:
        picture = cv2.imdecode(np.frombuffer(self.pictures[index] or b"?", np.uint8), cv2.IMREAD_COLOR_RGB)  # OpenCV raises for no bytes at all
        if picture is None or picture.shape[1::-1] != self.size:
            found = "no picture" if picture is None else f"{picture.shape[1]} × {picture.shape[0]} pixels"
            raise RecordingError(f"frame {index} can't be decoded: {found} found, {self.size[0]} × {self.size[1]} expected")
        return np.asarray(picture)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Pictures that are decoded already. array: uint8 RGB (T, H, W, 3)."""

    array: np.ndarray

    @property
    def num_frames(self) -> int:
        return len(self.array)

    @property
    def size(self) -> tuple[int, int]:
        return self.array.shape[2], self.array.shape[1]

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return np.take(self.array, np.asarray(indices), axis=0)
