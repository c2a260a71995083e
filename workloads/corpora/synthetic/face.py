"""The face: 68 landmarks (iBUG order), moved by mouth shape, brows and the head's pose."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

# Mouth shapes by sound: opening of the lips, their width (+ spread, - rounded), lower lip drawn in (pressed lips, f).
MOUTH_SHAPES: MappingProxyType[str, tuple[float, float, float]] = MappingProxyType(
    {
        "-": (0.0, 0.0, 0.0),
        "a": (1.0, 0.2, 0.0),
        "e": (0.45, 0.6, 0.0),
        "i": (0.2, 1.0, 0.0),
        "o": (0.65, -0.7, 0.0),
        "u": (0.25, -1.0, 0.0),
        "m": (0.0, -0.1, 0.8),
        "f": (0.12, 0.1, 1.0),
        "s": (0.1, 0.7, 0.2),
        "x": (0.3, -0.75, -0.4),  # sch: lips pushed forward
        "l": (0.4, 0.1, -0.2),
    }
)
FACE_CHANNELS = ("opening", "width", "draw", "brows", "yaw", "pitch", "roll", "blink")

_HALF_FACE = 0.215  # half the width of the mean face in shoulder widths
_MOUTH_Y, _MOUTH_HALF = 0.6, 0.4
_CHIN_DROP = 0.35  # of the chin per opening of the lips


def _template() -> np.ndarray:
    """Neutral face (68, 3) without the mouth: x, y, z from the tip of the nose, in half face widths."""
    angle = np.pi * np.arange(17) / 16
    side = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    jaw = np.column_stack([-side, -0.35 + 1.7 * np.sin(angle), -0.85 * np.abs(side) - 0.1])
    brow = np.column_stack([np.linspace(-0.82, -0.2, 5), [-0.85, -0.97, -1.0, -0.97, -0.9], np.linspace(-0.35, -0.05, 5)])
    bridge = np.column_stack([np.zeros(4), np.linspace(-0.6, 0.0, 4), np.linspace(-0.05, 0.3, 4)])
    nostrils = np.column_stack([np.linspace(-0.24, 0.24, 5), [0.12, 0.17, 0.2, 0.17, 0.12], [0.0, 0.08, 0.12, 0.08, 0.0]])
    around = np.deg2rad([180.0, 240.0, 300.0, 0.0, 60.0, 120.0])
    eye = np.column_stack([0.17 * np.cos(around), 0.085 * np.sin(around), np.zeros(6)])
    right_eye, left_eye = eye + [-0.42, -0.6, -0.15], eye + [0.42, -0.6, -0.15]
    mirrored = brow[::-1] * [-1, 1, 1]
    return np.vstack([jaw, brow, mirrored, bridge, nostrils, right_eye, left_eye, np.zeros((20, 3))])


_TEMPLATE = _template()
_JAW_WEIGHT = np.sin(np.pi * np.arange(17) / 16) ** 3
_OUTER = np.pi * (1 + np.arange(12) / 6)  # from the corner at the picture's left over the upper lip
_INNER = np.pi * (1 + np.arange(8) / 4)


def _mouth_points(channels: np.ndarray) -> np.ndarray:
    """Lips (T, 20, 3) from channels (T, 8)."""
    opening, width, draw = (channels[:, i, None] for i in range(3))
    half_width = _MOUTH_HALF * (1 + 0.32 * width - 0.06 * opening)
    gap = 0.3 * np.clip(opening, 0.0, 1.3)
    upper = gap * 0.5 + 0.11 - 0.04 * np.clip(draw, -1, 1)
    lower = gap * 1.6 + 0.15 - 0.1 * np.clip(draw, -1, 1)

    def ring(angle: np.ndarray, inset: float) -> np.ndarray:
        rise = np.sin(angle)
        y = np.where(rise < 0, (upper - inset) * rise, (lower - inset) * rise)
        x = (half_width - 0.5 * inset) * np.cos(angle)
        return np.stack([x, _MOUTH_Y + y, np.broadcast_to(0.1 - 0.15 * np.abs(np.cos(angle)) - 0.1 * width, x.shape)], axis=-1)

    return np.concatenate([ring(_OUTER, 0.0), ring(_INNER, 0.09)], axis=1)


def _rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Rotations (T, 3, 3): about the vertical axis, then nodding, then tilting."""
    zero, one = np.zeros_like(yaw), np.ones_like(yaw)

    def matrix(rows: list[list[np.ndarray]]) -> np.ndarray:
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    about_y = matrix([[np.cos(yaw), zero, np.sin(yaw)], [zero, one, zero], [-np.sin(yaw), zero, np.cos(yaw)]])
    about_x = matrix([[one, zero, zero], [zero, np.cos(pitch), np.sin(pitch)], [zero, -np.sin(pitch), np.cos(pitch)]])
    about_z = matrix([[np.cos(roll), -np.sin(roll), zero], [np.sin(roll), np.cos(roll), zero], [zero, zero, one]])
    product: np.ndarray = about_z @ about_x @ about_y
    return product


def face_points(channels: np.ndarray, *, head: float) -> tuple[np.ndarray, np.ndarray]:
    """Face channels (T, 8) → 68 landmarks (T, 68, 3) and nose, eyes and ears of the body (T, 5, 3), from the tip of the nose, in shoulder widths."""
    opening, brows, blink = channels[:, 0, None], channels[:, 3, None], channels[:, 7, None]
    points = np.repeat(_TEMPLATE[None], len(channels), axis=0)
    points[:, 48:] = _mouth_points(channels)
    points[:, :17, 1] += _CHIN_DROP * opening * _JAW_WEIGHT
    points[:, 17:27, 1] -= 0.16 * brows
    points[:, [20, 21, 22, 23], 1] += 0.08 * np.minimum(brows, 0)  # a frown draws the inner ends further down
    eyes = points[:, 36:48]
    middle = eyes[..., 1].mean(axis=1, keepdims=True)
    eyes[..., 1] = middle + (eyes[..., 1] - middle) * (1 - 0.85 * blink)
    centres = eyes.reshape(len(channels), 2, 6, 3).mean(axis=2)
    ears = np.broadcast_to(np.array([[1.1, -0.3, -1.0], [-1.1, -0.3, -1.0]]), (len(channels), 2, 3))
    body = np.concatenate([points[:, 30:31], centres[:, ::-1], ears], axis=1)
    # The head turns about the top of the neck, not about the nose.
    pivot = np.array([0.0, 0.9, -0.9])
    turned = (np.concatenate([points, body], axis=1) - pivot) @ _rotation(channels[:, 4], channels[:, 5], channels[:, 6]).transpose(0, 2, 1) + pivot
    turned *= _HALF_FACE * head
    return turned[:, :68], turned[:, 68:]
