"""Where a hand can be, and how it can be turned.

Side coordinates: x away from the body's middle on the hand's own side (negative is across), y down, z towards the camera; the same for either hand.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from workloads.corpora.synthetic.signers import Signer


class Place(NamedTuple):
    """A place of articulation: an offset in shoulder widths from the tip of the nose ("head") or from the middle between the shoulders ("trunk")."""

    anchor: str
    x: float
    y: float
    z: float


PLACES: MappingProxyType[str, Place] = MappingProxyType(
    {
        "crown": Place("head", 0.12, -0.62, 0.1),
        "forehead": Place("head", 0.12, -0.3, 0.3),
        "temple": Place("head", 0.34, -0.22, 0.15),
        "eye": Place("head", 0.18, -0.08, 0.3),
        "ear": Place("head", 0.34, 0.0, 0.05),
        "cheek": Place("head", 0.27, 0.14, 0.25),
        "nose": Place("head", 0.04, 0.06, 0.35),
        "mouth": Place("head", 0.06, 0.2, 0.35),
        "chin": Place("head", 0.04, 0.42, 0.3),
        "contra_cheek": Place("head", -0.22, 0.12, 0.3),
        "overhead": Place("trunk", 0.25, -1.18, 0.2),
        "overhead_side": Place("trunk", 0.78, -1.05, 0.2),
        "high": Place("trunk", 0.45, -0.55, 0.4),
        "high_side": Place("trunk", 0.88, -0.55, 0.3),
        "contra_high": Place("trunk", -0.7, -0.5, 0.5),
        "throat": Place("trunk", 0.02, -0.08, 0.3),
        "shoulder": Place("trunk", 0.55, -0.05, 0.2),
        "contra_shoulder": Place("trunk", -0.42, 0.0, 0.3),
        "chest": Place("trunk", 0.12, 0.28, 0.3),
        "contra_chest": Place("trunk", -0.3, 0.32, 0.3),
        "neutral": Place("trunk", 0.35, 0.45, 0.5),
        "centre": Place("trunk", 0.08, 0.45, 0.5),
        "contra": Place("trunk", -0.7, 0.3, 0.5),
        "side": Place("trunk", 0.98, 0.2, 0.3),
        "belly": Place("trunk", 0.1, 0.85, 0.3),
        "low": Place("trunk", 0.38, 1.1, 0.35),
        "low_side": Place("trunk", 0.95, 0.8, 0.25),
        "contra_low": Place("trunk", -0.55, 0.9, 0.4),
        "wrist": Place("trunk", -0.22, 0.6, 0.5),
        "elbow": Place("trunk", -0.62, 0.62, 0.4),
        "rest": Place("trunk", 0.28, 1.2, 0.2),
        "base": Place("trunk", 0.1, 0.68, 0.4),
    }
)

_DIRECTIONS = {
    "up": (0.0, -1.0, 0.0),
    "down": (0.0, 1.0, 0.0),
    "in": (-1.0, 0.0, 0.0),
    "out": (1.0, 0.0, 0.0),
    "forward": (0.0, 0.0, 1.0),
    "back": (0.0, 0.0, -1.0),
}
_FORWARD_RISE = np.array([0.0, -0.45, 0.0])  # fingers that point "forward" point a little up as well, as a relaxed wrist has them


def place_point(name: str, signer: Signer) -> np.ndarray:
    """A place's position (3,) on a signer, in side coordinates."""
    place = PLACES[name]
    offset = np.array([place.x, place.y, place.z])
    return offset * signer.head - np.array([0.0, signer.neck, 0.0]) if place.anchor == "head" else offset


def facing_quaternion(facing: str) -> np.ndarray:
    """`"palm fingers"`, e.g. `"down forward"` → unit quaternion (4,) that turns hand coordinates (thumb, fingers, palm) into side coordinates."""
    palm, fingers = (np.array(_DIRECTIONS[word]) for word in facing.split())
    along = fingers + (_FORWARD_RISE if fingers[2] > 0 else 0.0)
    along /= np.linalg.norm(along)
    normal = palm - along * (along @ palm)
    normal /= np.linalg.norm(normal)
    return _quaternion(np.column_stack([np.cross(along, normal), along, normal]))


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """Shepperd's method: divide by the largest of the four components."""
    trace = np.trace(rotation)
    squares = np.array([trace, *np.diag(rotation)])
    largest = int(np.argmax(squares))
    if largest == 0:
        q = np.array([1 + trace, *(rotation[(2, 0, 1), (1, 2, 0)] - rotation[(1, 2, 0), (2, 0, 1)])])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[0] = rotation[k, j] - rotation[j, k]
        q[1 + i] = 1 + rotation[i, i] - rotation[j, j] - rotation[k, k]
        q[1 + j] = rotation[i, j] + rotation[j, i]
        q[1 + k] = rotation[i, k] + rotation[k, i]
    unit: np.ndarray = q / np.linalg.norm(q)
    return unit


def quaternion_rotations(q: np.ndarray) -> np.ndarray:
    """Quaternions (..., 4), of any length but 0 → rotation matrices (..., 3, 3)."""
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    w, x, y, z = (q[..., i] for i in range(4))
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(entries, axis=-1).reshape(*q.shape[:-1], 3, 3)
