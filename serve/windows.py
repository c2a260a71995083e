"""Clips longer than the network sees at once: windows that overlap, and their answers put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from models.inputs.clip import Clip
from models.inputs.frames import Pictures

OVERLAP = 0.25  # of a window with the next: each is recognised with what comes before and after


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames [start, stop) of a clip; of its answer the glosses count whose middle lies in [first, last)."""

    start: int
    stop: int
    first: float
    last: float


def plan_windows(num_frames: int, length: int) -> list[Window]:
    """Windows of `length` frames at most, evenly spread over the clip; one that is the whole where it fits. Their parts that count cover it without a gap."""
    if num_frames <= length:
        return [Window(start=0, stop=num_frames, first=0, last=num_frames + 1)]
    step = max(1, int(length * (1 - OVERLAP)))
    count = -(-(num_frames - length) // step) + 1
    starts = [round(number * (num_frames - length) / (count - 1)) for number in range(count)]
    seams = [(before + length + after) / 2 for before, after in pairwise(starts)]
    return [
        Window(start=start, stop=start + length, first=first, last=last)
        for start, first, last in zip(starts, [0.0, *seams], [*seams, num_frames + 1.0], strict=True)
    ]


def window_clip(clip: Clip, window: Window) -> Clip:
    """The window's frames as a clip."""
    places = slice(window.start, window.stop)
    pictures = None if clip.frames is None else Pictures(array=clip.frames.decode(range(window.start, window.stop)))
    return replace(clip, keypoints=clip.keypoints[places], frames=pictures)


def joined(records: Sequence[Mapping[str, Any]], windows: Sequence[Window], clip: Clip) -> dict[str, Any]:
    """The answers of the windows as that of the clip: glosses by their place, the mean of their confidences; low where some window's is.

    What needs the whole sentence (score, likeliest sentences, what each head saw) is only there where one window was enough.
    """
    if len(records) == 1:
        return {**records[0], "windows": 1}
    glosses = [gloss for record, window in zip(records, windows, strict=True) for gloss in _counting(record, window, clip.fps)]
    confidence = sum(gloss["confidence"] for gloss in glosses) / len(glosses) if glosses else 0.0
    return {
        "name": clip.name,
        "head": records[0]["head"],
        "sentence": " ".join(gloss["gloss"] for gloss in glosses),
        "glosses": glosses,
        "confidence": round(confidence, 4),
        "low_confidence": not glosses or any(record["low_confidence"] and record["glosses"] for record in records),
        "num_frames": clip.num_frames,
        "fps": clip.fps,
        "windows": len(windows),
    }


def _counting(record: Mapping[str, Any], window: Window, fps: float | None) -> list[dict[str, Any]]:
    found = []
    for gloss in record["glosses"]:
        start, end = gloss["start_frame"] + window.start, gloss["end_frame"] + window.start
        if window.first <= (start + end) / 2 < window.last:
            seconds = (None, None) if fps is None else (round(start / fps, 3), round(end / fps, 3))
            found.append({**gloss, "start_frame": start, "end_frame": end, "start_s": seconds[0], "end_s": seconds[1]})
    return found
