"""Hand shapes as joint angles, and the hand they bend."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

# Fingers: flexion of the base joint and of the middle joint in radians. The end joint follows the middle one.
_STRAIGHT, _FIST, _CURVED, _CLAW, _HOOK, _BENT, _ROUND = (0.05, 0.05), (1.45, 1.6), (0.45, 0.55), (0.25, 0.95), (0.25, 1.5), (1.25, 0.15), (0.8, 0.8)
# Thumb: abduction from the fingers' direction, tilt to the palm's side, bend of its joints in radians.
_ALONG, _OUT, _ACROSS, _OPPOSED, _RELAXED = (0.45, 0.1, 0.05), (1.35, 0.0, 0.0), (0.5, 0.6, 0.75), (0.6, 0.75, 0.25), (0.75, 0.2, 0.1)

_FAN = np.array([0.28, 0.06, -0.14, -0.36])  # sideways angles of spread fingers, index to little finger, towards the thumb
_END_JOINT = 0.7  # flexion of the end joint per flexion of the middle one

_Angles = tuple[float, float]


def _shape(thumb: tuple[float, float, float], index: _Angles, middle: _Angles, ring: _Angles, little: _Angles, spread: float = 0.15) -> np.ndarray:
    fingers = np.column_stack([np.array([index, middle, ring, little]), spread * _FAN])
    return np.vstack([np.array(thumb), fingers])


HAND_SHAPES: MappingProxyType[str, np.ndarray] = MappingProxyType(
    {
        "rest": _shape(_RELAXED, (0.35, 0.4), (0.4, 0.45), (0.45, 0.5), (0.45, 0.5), 0.4),
        "flat": _shape(_ALONG, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT),
        "five": _shape(_OUT, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT, 1.0),
        "fist": _shape(_ACROSS, _FIST, _FIST, _FIST, _FIST),
        "thumb": _shape(_OUT, _FIST, _FIST, _FIST, _FIST),
        "index": _shape(_ACROSS, _STRAIGHT, _FIST, _FIST, _FIST),
        "two": _shape(_ACROSS, _STRAIGHT, _STRAIGHT, _FIST, _FIST),
        "vee": _shape(_ACROSS, _STRAIGHT, _STRAIGHT, _FIST, _FIST, 1.0),
        "three": _shape(_OUT, _STRAIGHT, _STRAIGHT, _FIST, _FIST, 1.0),
        "four": _shape(_ACROSS, _STRAIGHT, _STRAIGHT, _STRAIGHT, _STRAIGHT, 1.0),
        "little": _shape(_ACROSS, _FIST, _FIST, _FIST, _STRAIGHT),
        "wye": _shape(_OUT, _FIST, _FIST, _FIST, _STRAIGHT, 0.8),
        "ell": _shape(_OUT, _STRAIGHT, _FIST, _FIST, _FIST),
        "horns": _shape(_ACROSS, _STRAIGHT, _FIST, _FIST, _STRAIGHT, 0.6),
        "cee": _shape(_OPPOSED, _CURVED, _CURVED, _CURVED, _CURVED),
        "round": _shape(_OPPOSED, _ROUND, _ROUND, _ROUND, _ROUND),
        "ring": _shape(_OPPOSED, (0.8, 0.95), _STRAIGHT, _STRAIGHT, _STRAIGHT, 0.8),
        "claw": _shape(_RELAXED, _CLAW, _CLAW, _CLAW, _CLAW, 1.0),
        "hook": _shape(_ACROSS, _HOOK, _FIST, _FIST, _FIST),
        "bent": _shape(_ALONG, _BENT, _BENT, _BENT, _BENT),
    }
)

# The hand at rest in its own frame (towards the thumb, along the fingers, out of the palm); its length from wrist to fingertip is 1.
_KNUCKLES = np.array([[0.13, 0.46, 0.0], [0.04, 0.48, 0.0], [-0.05, 0.46, 0.0], [-0.13, 0.41, 0.0]])
_PHALANGES = np.array([[0.24, 0.14, 0.11], [0.26, 0.16, 0.11], [0.24, 0.15, 0.11], [0.18, 0.11, 0.1]])
_THUMB_ROOT = np.array([0.1, 0.13, 0.03])
_THUMB_BONES = np.array([0.19, 0.17, 0.14])
PALM_CENTRE = 0.4  # distance of the palm's centre from the wrist; places of articulation are where it goes


def hand_points(angles: np.ndarray) -> np.ndarray:
    """Forward kinematics of a hand: angles (..., 5, 3) → 21 points (..., 21, 3), wrist first, then thumb to little finger from root to tip.

    Coordinates: towards the thumb, along the fingers, out of the palm, in hand lengths.
    """
    abduction, tilt, bend = (angles[..., 0, i, None] for i in range(3))
    turn = abduction - bend * np.arange(3)
    thumb = np.stack([np.cos(tilt) * np.sin(turn), np.cos(tilt) * np.cos(turn), np.broadcast_to(np.sin(tilt), turn.shape)], axis=-1)
    thumb = _THUMB_ROOT + np.cumsum(thumb * _THUMB_BONES[:, None], axis=-2)

    base, middle, spread = (angles[..., 1:, i, None] for i in range(3))
    flexion = base + middle * np.array([0.0, 1.0, 1.0 + _END_JOINT])
    fingers = np.stack([np.cos(flexion) * np.sin(spread), np.cos(flexion) * np.cos(spread), np.sin(flexion)], axis=-1)
    fingers = _KNUCKLES[:, None] + np.cumsum(fingers * _PHALANGES[..., None], axis=-2)

    shape = angles.shape[:-2]
    knuckles = np.broadcast_to(_KNUCKLES[:, None], (*shape, 4, 1, 3))
    fingers = np.concatenate([knuckles, fingers], axis=-2).reshape(*shape, 16, 3)
    roots = np.broadcast_to(np.stack([np.zeros(3), _THUMB_ROOT]), (*shape, 2, 3))
    return np.concatenate([roots, thumb, fingers], axis=-2)
