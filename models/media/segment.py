"""A clip's pictures as one short video, as shards and samples keep them: opened when the first of them is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np

from models.errors import RecordingError
from models.inputs.frames import Frames
from models.media.video import parse_video

KEYFRAME_INTERVAL = 12  # places where decoding can begin: half a second


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


def encoded_segment(
    pictures: Iterator[np.ndarray], size: tuple[int, int], fps: float | None, rate_factor: int, *, interval: int = KEYFRAME_INTERVAL, full_colour: bool = True
) -> bytes:
    """One MP4 of H.264 of RGB pictures, without frames that need later ones, a key frame at each `interval`.

    rate_factor: 0 to 51, less is better. full_colour: colours at full resolution, so that any size will do; browsers play half of it alone, which needs
    an even width and height.
    """
    import av

    rate = Fraction(fps or 25.0).limit_denominator(1000)
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(
            "libx264", rate=rate, options={"crf": str(rate_factor), "g": str(interval), "bf": "0", "preset": "medium", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p" if full_colour else "yuv420p"
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
