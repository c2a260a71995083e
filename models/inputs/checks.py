"""What a clip's keypoints must be for a recogniser; asked by preprocessing, prediction and service alike."""

from __future__ import annotations

import math

import numpy as np

MIN_FRAMES = 4  # the temporal stride: fewer frames leave no step


def keypoint_problem(keypoints: np.ndarray, num_points: int) -> str | None:
    """Why keypoints (T, K, 3) can't be used by a recogniser of `num_points` points, as `kind: detail` in one line; None where they can."""
    if keypoints.ndim != 3 or keypoints.shape[2] != 3:
        return f"wrong keypoint shape: {keypoints.shape} found, (frames, {num_points}, 3) expected"
    num_frames, found, _ = keypoints.shape
    if found != num_points:
        return f"wrong keypoint count: {found} points found, {num_points} expected"
    if num_frames == 0:
        return "no frames: the keypoint array is empty"
    if num_frames < MIN_FRAMES:
        return f"too short: {num_frames} frames found, at least {MIN_FRAMES} needed"
    finite = np.isfinite(keypoints)
    if not finite.all():
        first = int(np.argmin(finite.all(axis=(1, 2))))
        return f"NaN or infinite keypoints: {np.count_nonzero(~finite)} values, the first in frame {first}"
    return None


def frame_size_problem(frame_size: tuple[int, int]) -> str | None:
    """Why a frame size can't be: it is no width and height in pixels."""
    if all(math.isfinite(size) and size > 0 for size in frame_size):
        return None
    return f"frame size unknown: {frame_size} is no width and height in pixels"
