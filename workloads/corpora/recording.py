"""A recording: one clip of signing as a corpus describes it, before it becomes a row of a shard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.media import VideoClip


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One clip as its corpus describes it; heavy parts may be left on disk (`path`) for the shard writer to read.

    keypoints: float array (T, K, 3): x, y in pixels of a width × height frame, confidence; or None.
    path: keypoint file that `workloads.preprocess` reads where `keypoints` is None. filmed: opens the recording's pictures, still encoded, and travels to other
    processes by pickle; None where there are none. A recording has keypoints, pictures or both, one frame of each for the other.
    extractor: what estimated the keypoints, name and version, where that is known.
    num_zeroed: numbers in it that were infinite at the source and that the reader set to 0.
    glosses: the sentence's glosses in order (continuous signing), or None where there is no annotation. label: the class of an isolated sign.
    """

    name: str
    split: str
    signer: str = ""
    keypoints: np.ndarray | None = None
    extractor: str | None = None
    num_zeroed: int = 0
    path: Path | None = None
    filmed: Callable[[], VideoClip] | None = None
    glosses: tuple[str, ...] | None = None
    label: str | None = None
    text: str | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
