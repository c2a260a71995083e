"""Steps of a network as frames and seconds of the source."""

from __future__ import annotations

import math

import pytest

from models.decoding.times import TimeSpan, source_span


def test_spans_are_rounded_outwards_and_shifted() -> None:
    assert source_span((1, 3), frames_per_step=4, fps=25.0) == TimeSpan(start_frame=4, end_frame=12, start_s=0.16, end_s=0.48)
    assert source_span((1, 2), frames_per_step=3.9, fps=None, first_frame=10) == TimeSpan(start_frame=13, end_frame=18, start_s=None, end_s=None)


@pytest.mark.parametrize("fps", [None, 0.0, -1.0, math.inf, math.nan])
def test_an_unusable_fps_counts_as_unknown(fps: float | None) -> None:
    assert source_span((0, 1), frames_per_step=4, fps=fps) == TimeSpan(start_frame=0, end_frame=4, start_s=None, end_s=None)
