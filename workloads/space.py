"""How much disk space shards will take, told before hours are spent on writing them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from cluster.storage import Location
from models.errors import RecordingError, ShardError
from models.media import VideoClip
from workloads.corpora.corpus import Part
from workloads.corpora.recording import Recording
from workloads.frame_encoding import FrameOptions, chosen_frames, encode_clip
from workloads.shard_writer import STAGING

Notify = Callable[[str], None]
TRIED_PARTS = 6  # spread over the corpus; of each the first recording is tried
TRIED_FRAMES = 24  # of each, neighbours, so that a video encoding shows what it saves
MARGIN = 1.2


def check_space(out: Location, parts: Sequence[Part], frames: FrameOptions | None, notify: Notify) -> int:
    """Bytes that the shards of these parts will take, by encoding some frames of a few recordings; one line for `notify` says so.

    Raises ShardError where they don't fit into what is free beside `out` and what `out` holds already; nobody knows how much room a store has.
    """
    needed = round(MARGIN * _estimate(parts, frames))
    told = f"{out}: the shards need about {size_text(needed)}"
    if isinstance(out, Path):
        free, held = shutil.disk_usage(next(folder for folder in (out.resolve(), *out.resolve().parents) if folder.exists())).free, _held(out)
        told += f", and {size_text(free)} are free" + (f" beside {size_text(held)} that are there already" if held else "")
        if needed > free + held:
            raise ShardError(f"{told}: choose another --out, or smaller pictures (--size, --encoding h264)")
    notify(told)
    return needed


def size_text(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def _held(out: Path) -> int:
    """Bytes below `out` of a killed run's parts, which are kept or make room, and of earlier shards, which are replaced."""
    held = 0
    for pattern in (f"{STAGING}/*.parquet", "*/part-*.parquet"):
        for path in out.glob(pattern):
            with suppress(OSError):  # another process may be writing there; `alone` tells of it
                held += path.stat().st_size
    return held


def _estimate(parts: Sequence[Part], frames: FrameOptions | None) -> float:
    if frames is None or not parts or any(part.num_recordings is None for part in parts):  # what isn't listed holds keypoints only
        return sum(part.num_bytes for part in parts)
    tried = [parts[place] for place in sorted({round(place) for place in np.linspace(0, len(parts) - 1, TRIED_PARTS)})]
    sizes = [size for part in tried for size in _sizes(part, frames)]
    if not sizes:
        return sum(part.num_bytes for part in parts)
    return statistics.fmean(sizes) * sum(part.num_recordings or 0 for part in parts)


def _sizes(part: Part, options: FrameOptions) -> Iterator[float]:
    """About the bytes of the part's first recording that can be read."""
    for recording in islice((entry for entry in part.read() if isinstance(entry, Recording)), 3):
        keypoints = 0 if recording.keypoints is None else recording.keypoints.nbytes
        if recording.path is not None:
            keypoints = os.path.getsize(recording.path)
        if recording.filmed is None:
            yield keypoints
            return
        try:
            yield keypoints + _encoded_size(recording.filmed(), options, recording.fps)
        except RecordingError:  # it will be rejected with its reason
            continue
        return


def _encoded_size(clip: VideoClip, options: FrameOptions, fps: float | None) -> float:
    chosen, _ = chosen_frames(clip, options.fps, fps)
    start = max(0, (len(chosen) - TRIED_FRAMES) // 2)
    tried = chosen[start : start + TRIED_FRAMES]
    encoded = encode_clip(_Excerpt(clip, tried).clip, dataclasses.replace(options, fps=None), fps)
    return sum(map(len, encoded.pictures)) / len(tried) * len(chosen)


class _Excerpt:
    """Some frames of a clip, as frames of their own."""

    def __init__(self, clip: VideoClip, chosen: np.ndarray) -> None:
        self._frames, self._chosen = clip.frames, chosen
        self.clip = VideoClip(frames=self, fps=clip.fps)

    @property
    def num_frames(self) -> int:
        return len(self._chosen)

    @property
    def size(self) -> tuple[int, int]:
        return self._frames.size

    def decode(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        return self._frames.decode(self._chosen[np.asarray(indices)])
