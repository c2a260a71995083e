"""Looking at a video before anything of it is decoded: its frames by time, where decoding can begin, its size, rate and rotation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import RecordingError
from models.media.containers import HEAD_BYTES, container_of

Source = Path | bytes
DURATION_SLACK = 1.0  # seconds by which a container's duration may exceed that of its pictures: sound often lasts longer


@dataclass(frozen=True, kw_only=True)
class VideoLimits:
    """What is refused before it is decoded: frames in all, and pixels of one frame. Of pictures in files, the first is decoded to know its size."""

    max_frames: int = 30_000  # twenty minutes
    max_pixels: int = 4096 * 2304


DEFAULT_LIMITS = VideoLimits()


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamIndex:
    """Where a video's frames are.

    stamps: int64 (T,), each frame's time in units of the stream, in the order in which frames are shown; None where the container doesn't say it, and frames
    are counted. keyframes: places in `stamps` where decoding can begin, ascending, and seek_stamps: what to seek for each. size: width and height as shown,
    that is after `quarter_turns` anticlockwise. times: float64 (T,), seconds from the first frame, or None. fps: frames per second, on average.
    container: FFmpeg's name of it. hidden: whether the container holds frames that are decoded but not shown.
    """

    container: str
    num_frames: int
    size: tuple[int, int]
    quarter_turns: int
    fps: float | None
    stamps: np.ndarray | None
    keyframes: np.ndarray
    seek_stamps: np.ndarray
    times: np.ndarray | None
    hidden: bool


def open_container(source: Source, container: str) -> Any:
    """PyAV's container; whatever PyAV raises passes through."""
    import av

    file = BytesIO(source) if isinstance(source, bytes) else str(source)
    return av.open(file, format=container, metadata_errors="replace")


def video_stream(container: Any) -> Any:
    """The first stream of moving pictures, decoded by one thread: there is one process per core already."""
    from av.stream import Disposition

    stream = next((stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic), None)  # which is a cover
    if stream is None:
        raise RecordingError("has no stream of moving pictures")
    stream.codec_context.thread_count = 1
    return stream


def read_index(source: Source, limits: VideoLimits) -> StreamIndex:
    """The index of a video; one pass over its packets, and its first frame decoded.

    Errors: RecordingError, which says what is wrong but doesn't name the file; whatever PyAV raises for damaged bytes passes through.
    """
    head = source[:HEAD_BYTES] if isinstance(source, bytes) else _head(source)
    kind = container_of(head)
    if kind is None:
        raise RecordingError(
            "is empty" if not head else f"is no video: it begins with {bytes(head[:8])!r}, and MP4, MOV, WebM, MKV, AVI, MPEG or WMV is expected"
        )
    with open_container(source, kind) as container:
        stream = video_stream(container)
        _check_announced(stream, limits)
        packets = _packets(container, stream, limits)
        shown = [packet for packet in packets if not packet.is_discard]
        _check_whole(container, stream, packets, shown)
        unit, rate = float(stream.time_base), float(stream.average_rate or 0) or None
    width, height, turns = _first_picture(source, kind, limits)
    stamps = [packet.pts for packet in shown]
    facts: dict[str, Any] = {"container": kind, "size": (width, height), "quarter_turns": turns, "hidden": len(shown) < len(packets)}
    if None in stamps or len(set(stamps)) < len(stamps):
        none = np.empty(0, dtype=np.int64)
        return StreamIndex(**facts, num_frames=_count(source, kind, limits), fps=rate, stamps=None, times=None, keyframes=none, seek_stamps=none)
    shown.sort(key=lambda packet: packet.pts or 0)
    in_order = np.array([packet.pts for packet in shown], dtype=np.int64)
    keyframes = [place for place, packet in enumerate(shown) if packet.is_keyframe]
    times = (in_order - in_order[0]) * unit
    return StreamIndex(
        **facts,
        num_frames=len(shown),
        fps=_mean_rate(times, rate),
        stamps=in_order,
        times=times,
        keyframes=np.array(keyframes, dtype=np.int64),
        seek_stamps=np.array([_seek_stamp(shown[place]) for place in keyframes], dtype=np.int64),
    )


@dataclass(frozen=True)
class _Packet:
    """What the index needs of a packet; FFmpeg's own would keep its data in memory."""

    pts: int | None
    dts: int | None
    is_keyframe: bool
    is_discard: bool


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _check_announced(stream: Any, limits: VideoLimits) -> None:
    if stream.frames > limits.max_frames:
        raise RecordingError(f"announces {stream.frames:,} frames, and {limits.max_frames:,} are allowed: cut it into shorter videos")
    if stream.width * stream.height > limits.max_pixels:
        raise RecordingError(f"announces frames of {stream.width} × {stream.height} pixels, and {limits.max_pixels:,} pixels are allowed")


def _packets(container: Any, stream: Any, limits: VideoLimits) -> list[_Packet]:
    packets: list[_Packet] = []
    for packet in container.demux(stream):
        if packet.size:  # the last, empty one stands for the end
            packets.append(_Packet(packet.pts, packet.dts, packet.is_keyframe, packet.is_discard))
        if len(packets) > limits.max_frames:
            raise RecordingError(f"has more than {limits.max_frames:,} frames, which are allowed: cut it into shorter videos")
    return packets


def _check_whole(container: Any, stream: Any, packets: list[_Packet], shown: list[_Packet]) -> None:
    if not shown:
        raise RecordingError("no frames: it holds no picture")
    if stream.frames > len(packets):
        raise RecordingError(f"truncated: {stream.frames:,} frames announced, {len(packets):,} found")
    last = max((packet.pts for packet in shown if packet.pts is not None), default=None)
    if last is None or container.duration is None or stream.frames or len(container.streams) > 1:
        return
    announced, found = container.duration / 1e6, last * float(stream.time_base)
    if announced - found > max(DURATION_SLACK, 0.05 * announced):
        raise RecordingError(f"truncated: {announced:.1f} s announced, {found:.1f} s found")


def _count(source: Source, kind: str, limits: VideoLimits) -> int:
    """Frames by decoding them all: packets without times may hold none or two."""
    count = 0
    with open_container(source, kind) as container:
        for count, _ in enumerate(container.decode(video_stream(container)), start=1):
            if count > limits.max_frames:
                raise RecordingError(f"has more than {limits.max_frames:,} frames, which are allowed: cut it into shorter videos")
    return count


def _seek_stamp(packet: _Packet) -> int:
    """Containers seek by the time of decoding, which is the earlier one where frames are reordered."""
    assert packet.pts is not None
    return packet.pts if packet.dts is None else min(packet.pts, packet.dts)


def _first_picture(source: Source, kind: str, limits: VideoLimits) -> tuple[int, int, int]:
    """Width and height as shown, and the quarter turns that bring it there. StopIteration where nothing can be decoded."""
    with open_container(source, kind) as container:
        first = next(container.decode(video_stream(container)))
        if first.width * first.height > limits.max_pixels:
            raise RecordingError(f"has frames of {first.width} × {first.height} pixels, and {limits.max_pixels:,} pixels are allowed")
        turns = round(first.rotation / 90) % 4
        return (first.height, first.width, turns) if turns % 2 else (first.width, first.height, turns)


def _mean_rate(times: np.ndarray, announced: float | None) -> float | None:
    if len(times) < 2 or times[-1] <= 0:
        return announced
    measured = float((len(times) - 1) / times[-1])
    return announced if announced and math.isclose(announced, measured, rel_tol=0.01) else measured  # stamps of WebM are rounded to milliseconds
