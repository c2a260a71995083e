"""Videos: a file or its bytes → frames that are decoded when they are asked for, with their rate.

Frames are those that a player shows, in the order in which it shows them, turned as the file says; each coded frame is one frame, so that keypoints of the
same video fit. Of a video whose rate varies, `fps` is the mean and `times` tells when each frame is shown: nothing is repeated or left out here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import RecordingError
from models.inputs.frames import Frames
from models.media.backends import BACKENDS, FrameReader
from models.media.pictures import read_picture_folder
from models.media.stream_index import DEFAULT_LIMITS, Source, StreamIndex, VideoLimits, read_index

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

# For every source: measured (tests/benchmarks, `video`), decord takes less time for small videos (PyAV 1.3 to 1.6 times as much for all or half of their
# frames, as much for eight), PyAV for large ones (0.9); but decord hides damage and doesn't read every container, and shards must not depend on which of the
# two read a source.
DEFAULT_BACKEND = "pyav"


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoClip:
    """What was filmed: its frames, still encoded. fps: frames per second, None where unknown. times: float64 (T,), seconds from the first frame, or None."""

    frames: Frames
    fps: float | None
    times: np.ndarray | None = None

    @property
    def width(self) -> int:
        return self.frames.size[0]

    @property
    def height(self) -> int:
        return self.frames.size[1]

    @property
    def num_frames(self) -> int:
        return self.frames.num_frames

    @property
    def variable_rate(self) -> bool:
        """Whether some frame is shown more than half as long again as another."""
        if self.times is None or len(self.times) < 3:
            return False
        steps = np.diff(self.times)
        return bool(steps.max() > 1.5 * steps.min())


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoFrames:
    """The frames of a video. It travels to other processes without its open decoder; one thread at a time may decode."""

    source: Source = field(repr=False)
    name: str
    index: StreamIndex
    backend: str
    _readers: list[FrameReader] = field(default_factory=list, init=False, repr=False)

    @property
    def num_frames(self) -> int:
        return self.index.num_frames

    @property
    def size(self) -> tuple[int, int]:
        return self.index.size

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 RGB (N, H, W, 3) of the frames at `indices`. Raises RecordingError for damaged ones."""
        wanted, rows = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
        if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < self.num_frames:
            raise ValueError(f"{self.name}: frames {wanted[0]} to {wanted[-1]} wanted of {self.num_frames}")
        with _video_errors(self.name):
            if not self._readers:
                self._readers.append(BACKENDS[self.backend](self.source, self.index))
            pictures = self._readers[0].read(wanted)
        return pictures if np.array_equal(rows, np.arange(len(wanted))) else pictures[rows]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_readers": []}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def read_video(path: Path, *, limits: VideoLimits = DEFAULT_LIMITS, backend: str | None = None) -> VideoClip:
    """Open a video file: its packets are looked at, its frames are decoded later, from the file.

    backend: a key of BACKENDS; None takes DEFAULT_BACKEND.
    Errors: RecordingError in one line, naming the file: missing, no video, empty, truncated, damaged, beyond `limits`, or for want of the extra `video`.
    """
    if not path.is_file():
        raise RecordingError(f"{path}: no such video")
    return _opened(path, str(path), limits, backend)


def parse_video(content: bytes, name: str, *, limits: VideoLimits = DEFAULT_LIMITS, backend: str | None = None) -> VideoClip:
    """The same of a video's bytes, which errors call `name`."""
    return _opened(content, name, limits, backend)


def read_frames(path: Path, *, limits: VideoLimits = DEFAULT_LIMITS) -> VideoClip:
    """A video file, or a folder of pictures, whose rate isn't known. Errors: RecordingError as of `read_video` and `read_picture_folder`."""
    if path.is_dir():
        return VideoClip(frames=read_picture_folder(path, limits=limits), fps=None)
    return read_video(path, limits=limits)


def _opened(source: Source, name: str, limits: VideoLimits, backend: str | None) -> VideoClip:
    with _video_errors(name):
        index = read_index(source, limits)
    frames = VideoFrames(source=source, name=name, index=index, backend=backend or DEFAULT_BACKEND)
    return VideoClip(frames=frames, fps=index.fps, times=index.times)


@contextmanager
def _video_errors(name: str) -> Iterator[None]:
    """Turns whatever the libraries raise for damaged bytes into a RecordingError that names the video."""
    try:
        yield
    except RecordingError as error:
        raise RecordingError(f"{name}: {error}") from None
    except ImportError as error:
        raise RecordingError(f"{name}: reading videos needs the extra 'video' ({error}): pip install 'signray[video]'") from None
    except StopIteration:
        raise RecordingError(f"{name}: no frames: none can be decoded") from None
    except Exception as error:  # FFmpegError, DECORDError, ValueError, OverflowError, ...: each library raises what damaged bytes lead to
        reason = " ".join(str(error).split())[:120]
        raise RecordingError(f"{name}: not a readable video, truncated or damaged ({type(error).__name__}: {reason})") from None
