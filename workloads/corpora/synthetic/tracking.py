"""What a keypoint estimator makes of a pose: jitter, drift, lost points, confidences."""

from __future__ import annotations

import numpy as np

from workloads.corpora.synthetic.skeleton import ANKLES, BODY, ELBOWS, FACE, FEET, HIPS, KNEES, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, WRISTS

_HANDS = (LEFT_HAND, RIGHT_HAND)
_DRIFT_SECONDS = 0.15  # correlation time of tracking errors
_LOSSES_PER_SECOND = 0.08  # of each hand
_LOSS_SECONDS = 0.2
_POINT_LOSS = 0.01  # of each hand point in each frame


def _jitter_of_points() -> np.ndarray:
    """Standard deviation of each point's jitter in shoulder widths (133,)."""
    jitter = np.full(NUM_KEYPOINTS, 0.007)
    jitter[ELBOWS], jitter[HIPS], jitter[KNEES], jitter[ANKLES], jitter[FEET] = 0.012, 0.015, 0.08, 0.08, 0.08
    jitter[FACE] = 0.0035
    for hand in _HANDS:
        jitter[hand] = 0.009
    return jitter


def _confidence_of_points() -> np.ndarray:
    """Mean confidence of each point (133,)."""
    confidence = np.full(NUM_KEYPOINTS, 0.92)
    confidence[ELBOWS], confidence[WRISTS], confidence[HIPS] = 0.88, 0.8, 0.62
    confidence[KNEES], confidence[ANKLES], confidence[FEET] = 0.12, 0.07, 0.06
    confidence[FACE] = 0.96
    finger = np.array([0.8, *np.tile([0.76, 0.7, 0.66, 0.6], 5)])
    for hand in _HANDS:
        confidence[hand] = finger
    return confidence


_JITTER, _CONFIDENCE = _jitter_of_points(), _confidence_of_points()


def smooth_noise(shape: tuple[int, ...], *, seconds: float, fps: float, rng: np.random.Generator) -> np.ndarray:
    """First-order autoregressive noise over axis 0 with unit variance and the given correlation time."""
    memory = float(np.exp(-1 / (seconds * fps)))
    noise = rng.standard_normal(shape)
    noise[1:] *= np.sqrt(1 - memory**2)
    for i in range(1, len(noise)):
        noise[i] += memory * noise[i - 1]
    return noise


def track(pose: np.ndarray, *, scale: float, fps: float, noise: float, dropout: float, rng: np.random.Generator) -> np.ndarray:
    """Clean pose (T, 133, 2) in pixels → keypoints (T, 133, 3): x, y, confidence, in float32.

    scale: pixels of a shoulder width. noise, dropout: strengths, 1 is usual. A lost hand stays where it was last seen, with little confidence,
    or is all zeros: both are found in published corpora.
    """
    num_frames = len(pose)
    keypoints = np.empty((num_frames, NUM_KEYPOINTS, 3))
    error = rng.standard_normal(pose.shape) * _JITTER[:, None]
    drift = smooth_noise((num_frames, 3, 2), seconds=_DRIFT_SECONDS, fps=fps, rng=rng)
    error[:, BODY] += 0.006 * drift[:, :1]
    speed = np.linalg.norm(np.gradient(pose, axis=0), axis=-1) * fps / scale if num_frames > 1 else np.zeros(pose.shape[:2])
    confidence = _CONFIDENCE * (1 + 0.04 * rng.standard_normal((num_frames, NUM_KEYPOINTS)))
    for index, hand in enumerate(_HANDS, start=1):
        error[:, hand] += 0.012 * drift[:, index, None]
        error[:, hand] *= (1 + 0.15 * np.minimum(speed[:, hand], 8.0))[..., None]  # motion blur
        confidence[:, hand] /= 1 + 0.06 * speed[:, hand]
    keypoints[..., :2] = pose + noise * scale * error
    keypoints[..., 2] = np.clip(confidence, 0.01, 1.0)
    _lose_points(keypoints, dropout=dropout, scale=scale, rng=rng)
    _lose_hands(keypoints, dropout=dropout, fps=fps, rng=rng)
    return quantised(keypoints)


def _lose_points(keypoints: np.ndarray, *, dropout: float, scale: float, rng: np.random.Generator) -> None:
    """Single points of the hands go astray, in place."""
    for hand in _HANDS:
        points = keypoints[:, hand]
        lost = rng.random(points.shape[:2]) < min(dropout * _POINT_LOSS, 1.0)
        astray = rng.standard_normal(points.shape)
        points[lost, :2] += 0.08 * scale * astray[lost, :2]
        points[lost, 2] *= 0.3


def _lose_hands(keypoints: np.ndarray, *, dropout: float, fps: float, rng: np.random.Generator) -> None:
    """Whole hands are lost for some frames, in place."""
    num_frames = len(keypoints)
    for hand in _HANDS:
        for _ in range(rng.poisson(dropout * _LOSSES_PER_SECOND * num_frames / fps)):
            start = int(rng.integers(num_frames))
            stop = start + 1 + int(rng.poisson(_LOSS_SECONDS * fps))
            if rng.random() < 0.5:
                keypoints[start:stop, hand] = 0.0
            else:
                keypoints[start:stop, hand, :2] = keypoints[start, hand, :2]
                keypoints[start:stop, hand, 2] *= 0.25


def quantised(values: np.ndarray) -> np.ndarray:
    """Float32, rounded to 1/256: the last bits of sines and products differ between processors, and equal seeds give equal bytes everywhere."""
    return (np.round(values * 256) / 256).astype(np.float32)
