"""A clip: one recording as a shard or a keypoint file hands it to the input transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.inputs.frames import Frames


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """One clip with its annotation.

    keypoints: float32 (T, K, 3): x, y in pixels of the source, confidence; writable and owned by the clip, so that augmentation may work in place;
    (T, 0, 3) where the clip has none. frames: its pictures, still encoded; None where it has none, or where nobody asked for them.
    frame_size: width, height of the source in pixels. glosses: None where the clip has no gloss annotation. label: the class of an isolated sign.
    """

    name: str
    keypoints: np.ndarray
    frames: Frames | None = None
    frame_size: tuple[int, int]
    glosses: tuple[str, ...] | None = None
    label: str | None = None
    text: str | None = None
    signer: str = ""
    fps: float | None = None

    @property
    def num_frames(self) -> int:
        return int(self.keypoints.shape[0])
