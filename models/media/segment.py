"""A clip's pictures as one short video, as shards keep them: opened when the first of them is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.errors import RecordingError
from models.inputs.frames import Frames
from models.media.video import parse_video


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoSegment:
    """content: the video's bytes; num_frames and size: what it was written with."""

    content: bytes = field(repr=False)
    num_frames: int
    size: tuple[int, int]
    _opened: list[Frames] = field(default_factory=list, init=False, repr=False)

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 RGB (N, H, W, 3) of the frames at `indices`. Raises RecordingError for damaged ones."""
        if not self._opened:
            frames = parse_video(self.content, "segment").frames
            if (frames.num_frames, frames.size) != (self.num_frames, self.size):
                found = f"{frames.num_frames} frames of {frames.size[0]} × {frames.size[1]} found"
                raise RecordingError(f"segment: {found}, {self.num_frames} of {self.size[0]} × {self.size[1]} expected")
            self._opened.append(frames)
        return self._opened[0].decode(indices)
