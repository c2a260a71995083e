"""The plain way of pictures to a network: a folder of PNG files a clip, read by OpenCV, augmented frame by frame, float32 in the loader.

As the VAC family's programs do it (cslr_common.md, sections 1 to 5).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

CROP = 224
LEFT_PAD = 6  # of the temporal convolution


class PictureFolders(Dataset[Tensor]):
    """One clip a folder: float32 (T, 3, 224, 224), in [-1, 1]."""

    def __init__(self, root: Path) -> None:
        self.folders = sorted(root.iterdir())

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, index: int) -> Tensor:
        pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(self.folders[index].glob("*.png"))]
        pictures = mirrored(cropped(pictures))
        clip = torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).copy()).float()
        return rescaled(clip) / 127.5 - 1


def cropped(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    height, width, _ = pictures[0].shape
    left, top = random.randint(0, width - CROP), random.randint(0, height - CROP)
    return [picture[top : top + CROP, left : left + CROP] for picture in pictures]


def mirrored(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [np.fliplr(picture) for picture in pictures] if random.random() < 0.5 else list(pictures)


def rescaled(clip: Tensor) -> Tensor:
    num_frames = len(clip)
    length = min(max(int(num_frames * (0.8 + 0.4 * np.random.random_sample())), 32), 230)
    length += -length % 4
    chosen = random.sample(range(num_frames), length) if length <= num_frames else random.choices(range(num_frames), k=length)
    return clip[sorted(chosen)]


def collate(clips: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """The clips, longest first, each between repeats of its first and last frame."""
    ordered = sorted(clips, key=len, reverse=True)
    longest = -(-len(ordered[0]) // 4) * 4 + 2 * LEFT_PAD
    padded = [torch.cat([clip[:1].expand(LEFT_PAD, -1, -1, -1), clip, clip[-1:].expand(longest - len(clip) - LEFT_PAD, -1, -1, -1)]) for clip in ordered]
    return torch.stack(padded), [len(clip) for clip in ordered]
