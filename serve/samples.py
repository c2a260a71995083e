"""The sample clips of a bundle, as the service hands them out: to try it without a file of one's own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from models.inputs.clip import Clip
from models.media.segment import VideoSegment


def sample_card(number: int, clip: Clip) -> dict[str, Any]:
    """What `schemas.Sample` tells of a clip."""
    reference = clip.label if clip.label is not None else None if clip.glosses is None else " ".join(clip.glosses)
    return {"number": number, "name": clip.name, "num_frames": clip.num_frames, "fps": clip.fps, "reference": reference}


def sample_file(clip: Clip) -> bytes:
    """The clip's pictures as a video (`.mp4`), else the clip as a keypoint file (`.npz`), without its annotation."""
    if isinstance(clip.frames, VideoSegment):
        return clip.frames.content
    arrays: dict[str, np.ndarray] = {"keypoints": clip.keypoints, "frame_size": np.array(clip.frame_size, dtype=np.int32)}
    if clip.fps is not None:
        arrays["fps"] = np.array(clip.fps)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
