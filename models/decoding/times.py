"""From time steps of a network to frames and seconds of the source."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimeSpan:
    """A half-open interval of source frames, and of seconds where the fps is known."""

    start_frame: int
    end_frame: int
    start_s: float | None
    end_s: float | None


def source_span(span: tuple[int, int], *, frames_per_step: float, fps: float | None, first_frame: int = 0) -> TimeSpan:
    """The frames that the steps `[start, end)` cover, rounded outwards, and their seconds.

    frames_per_step: the network's temporal stride; first_frame: frame of the source at which step 0 begins. An fps that is not positive
    and finite counts as unknown.
    """
    start = first_frame + math.floor(span[0] * frames_per_step)
    end = first_frame + math.ceil(span[1] * frames_per_step)
    known = fps if fps is not None and 0 < fps < math.inf else None
    return TimeSpan(start_frame=start, end_frame=end, start_s=start / known if known else None, end_s=end / known if known else None)
