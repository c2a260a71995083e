"""Decoders of videos behind one interface: PyAV, and decord for those who ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any, Protocol

import numpy as np

from models.errors import RecordingError
from models.media.stream_index import Source, StreamIndex, open_container, video_stream


class FrameReader(Protocol):
    """An open video. It isn't safe to use from two threads at once."""

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """uint8 RGB (N, H, W, 3) of the frames at `wanted`: ascending, each once. Whatever the library raises passes through."""


class PyavReader:
    """Decodes forward from where it stands, or from the last keyframe before what is wanted, whichever is nearer."""

    def __init__(self, source: Source, index: StreamIndex) -> None:
        self._source, self._index = source, index
        self._decoded: Iterator[Any]
        self._restart()

    def read(self, wanted: np.ndarray) -> np.ndarray:
        width, height = self._index.size
        pictures = np.empty((len(wanted), height, width, 3), dtype=np.uint8)
        for row, place in enumerate(wanted):
            pictures[row] = self._picture(self._frame(int(place)), int(place))
        return pictures

    def _frame(self, place: int) -> Any:
        if not self._at <= place or self._keyframe_before(place) > self._at:
            self._seek(place)
        frame = self._next(place)
        if frame is None:  # the seek went too far, which some containers do
            self._restart()
            frame = self._next(place)
        if frame is None:
            raise RecordingError(f"frame {place} is missing: damaged or truncated")
        return frame

    def _next(self, place: int) -> Any | None:
        for frame in self._decoded:
            found = self._place_of(frame)
            if found is None:
                continue
            self._at = found + 1
            if found == place:
                return frame
            if found > place:
                return None
        return None

    def _place_of(self, frame: Any) -> int | None:
        """The frame's number; None where the index doesn't have it."""
        stamps = self._index.stamps
        if stamps is None:
            return self._at
        if frame.pts is None:
            return None
        place = int(np.searchsorted(stamps, frame.pts))
        return place if place < len(stamps) and stamps[place] == frame.pts else None

    def _keyframe_before(self, place: int) -> int:
        found = int(np.searchsorted(self._index.keyframes, place, side="right")) - 1
        return int(self._index.keyframes[found]) if found >= 0 else 0

    def _seek(self, place: int) -> None:
        found = int(np.searchsorted(self._index.keyframes, place, side="right")) - 1
        if found <= 0:
            self._restart()
            return
        self._container.seek(int(self._index.seek_stamps[found]), stream=self._stream)
        self._decoded, self._at = self._container.decode(self._stream), int(self._index.keyframes[found])

    def _restart(self) -> None:
        self._container = open_container(self._source, self._index.container)
        self._stream = video_stream(self._container)
        self._decoded = self._container.decode(self._stream)
        self._at = 0  # the frame that comes next

    def _picture(self, frame: Any, place: int) -> np.ndarray:
        if frame.is_corrupt:
            raise RecordingError(f"frame {place} is damaged")
        picture: np.ndarray = np.rot90(frame.to_ndarray(format="rgb24"), self._index.quarter_turns)
        width, height = self._index.size
        if picture.shape != (height, width, 3):
            raise RecordingError(f"frame {place} has {picture.shape[1]} × {picture.shape[0]} pixels, and the first {width} × {height}")
        return picture


class DecordReader:
    """decord, for MP4 and MOV that needn't be turned. It conceals damage, seeks inexactly in WMV, and counts frames that aren't shown."""

    def __init__(self, source: Source, index: StreamIndex) -> None:
        import decord

        if index.container != "mov" or index.quarter_turns:
            raise RecordingError("decord is used for MP4 and MOV that needn't be turned")
        decord.logging.set_level(decord.logging.QUIET)
        self._index = index
        self._video = decord.VideoReader(BytesIO(source) if isinstance(source, bytes) else str(source), num_threads=1)
        if len(self._video) != index.num_frames:
            raise RecordingError(f"decord counts {len(self._video)} frames, and {index.num_frames} are there")

    def read(self, wanted: np.ndarray) -> np.ndarray:
        pictures = self._video.get_batch(wanted.tolist()).asnumpy()
        width, height = self._index.size
        if pictures.shape != (len(wanted), height, width, 3):
            raise RecordingError(f"decord gives pictures of shape {pictures.shape[1:]}, and {(height, width, 3)} is expected")
        return np.asarray(pictures)


BACKENDS: dict[str, Callable[[Source, StreamIndex], FrameReader]] = {"pyav": PyavReader, "decord": DecordReader}
