"""Small videos whose frames tell their numbers, in the forms in which people bring them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4", ".mpg": "mpeg2video", ".wmv": "wmv2"}

ENCODERS = {suffix: {"g": "8", "bf": "2"} for suffix in (".mp4", ".mov", ".mkv", ".avi", ".mpg")} | {
    ".wmv": {"g": "8"},
    ".webm": {"g": "8", "deadline": "realtime", "cpu-used": "8"},
}


def numbered(num_frames: int, *, width: int = 64, height: int = 48) -> np.ndarray:
    """uint8 RGB (T, H, W, 3): red and green grow with the frame's number, the lower left corner is blue."""
    number = np.arange(num_frames)[:, None, None]
    pictures = np.zeros((num_frames, height, width, 3), dtype=np.uint8)
    pictures[..., 0], pictures[..., 1] = 40 + 5 * number, 200 - 5 * number
    pictures[:, height // 2 :, : width // 2] = (20, 20, 230)
    return pictures


def write_video(path: Path, pictures: np.ndarray, *, fps: int = 25, stamps: Sequence[int] | None = None, codec: str | None = None, **options: str) -> Path:
    """Encode pictures (T, H, W, 3). stamps: when each is shown, in frames; options: the encoder's."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec or CODECS[path.suffix], rate=fps, options={**({} if codec else ENCODERS[path.suffix]), **options})
        stream.width, stream.height, stream.pix_fmt = pictures.shape[2], pictures.shape[1], "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for stamp, picture in zip(stamps or range(len(pictures)), pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(content: bytes, quarter_turns: int) -> bytes:
    """An MP4 whose display matrix (of its track header) turns it anticlockwise by quarter turns; the bytes else stay."""
    sin, cos = ((0, 1), (-1, 0), (0, -1), (1, 0))[quarter_turns]
    start = content.index(b"tkhd")
    matrix = start + 4 + 4 + 20 + 8 + 8  # version and flags, times and ids, reserved, layer and volume
    one = 1 << 16
    rows = np.array([cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30], dtype=">i4")
    return content[:matrix] + rows.tobytes() + content[matrix + 36 :]
