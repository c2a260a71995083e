"""Pictures of a clip, encoded until someone asks for some of them: temporal sampling comes first, and only what it picked is decoded."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np

from models.errors import RecordingError

WORTH_THREADS = 8  # pictures; fewer are decoded by the calling thread


@lru_cache(maxsize=1)
def _decoders(_process: int, threads: int) -> ThreadPoolExecutor:
    """The threads that decode pictures: of this process, for those of its parent don't survive a fork."""
    return ThreadPoolExecutor(max_workers=threads, thread_name_prefix="decode")


def _num_threads() -> int:
    """Threads that this process may use, by torch. One where torch isn't loaded: what only reads pictures starts a second sooner without it."""
    torch = sys.modules.get("torch")
    return 1 if torch is None else int(torch.get_num_threads())


def decoded_picture(content: bytes) -> np.ndarray | None:
    """A picture, uint8 RGB (H, W, 3); None for whatever OpenCV can't decode."""
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # OpenCV answers None for damage, but raises for no bytes at all and for a head that tells of over 2³⁰ pixels
        return None
    return None if picture is None else np.asarray(picture)


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
        self.decode_into(decoded, indices)
        return decoded

    def decode_into(self, out: np.ndarray, indices: Sequence[int] | np.ndarray) -> None:
        """As `decode`, into `out` (N, H, W, 3): a batch of pictures is large, and copying it costs half of what decoding it does."""
        wanted, first, rows = np.unique(np.asarray(indices, dtype=np.int64), return_index=True, return_inverse=True)  # resampling repeats frames

        def fill(place: int) -> None:
            out[first[place]] = self._picture(int(wanted[place]))

        threads = _num_threads()  # OpenCV lets go of Python's lock while it decodes
        if threads > 1 and len(wanted) >= WORTH_THREADS:
            list(_decoders(os.getpid(), threads).map(fill, range(len(wanted))))
        else:
            for place in range(len(wanted)):
                fill(place)
        for row in np.setdiff1d(np.arange(len(rows)), first):
            out[row] = out[first[rows[row]]]

    def _picture(self, index: int) -> np.ndarray:
        picture = decoded_picture(self.pictures[index])
        if picture is None or picture.shape[1::-1] != self.size:
            found = "no picture" if picture is None else f"{picture.shape[1]} × {picture.shape[0]} pixels"
            raise RecordingError(f"frame {index} can't be decoded: {found} found, {self.size[0]} × {self.size[1]} expected")
        return picture


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
