"""The body that carries the hands: articulation → 133 points in COCO-WholeBody order."""

from __future__ import annotations

import numpy as np

from workloads.corpora.synthetic.articulation import ORIENTATION, POSITION, SHAPE, Articulation
from workloads.corpora.synthetic.face import face_points
from workloads.corpora.synthetic.handshapes import PALM_CENTRE, hand_points
from workloads.corpora.synthetic.places import quaternion_rotations
from workloads.corpora.synthetic.signers import Signer

NUM_KEYPOINTS = 133
BODY, FEET, FACE, LEFT_HAND, RIGHT_HAND = slice(0, 17), slice(17, 23), slice(23, 91), slice(91, 112), slice(112, 133)
SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = ([5, 6], [7, 8], [9, 10], [11, 12], [13, 14], [15, 16])  # left, right

_MIN_REACH, _MAX_REACH = 0.33, 0.985  # of the stretched arm
_PERSPECTIVE = 0.1  # enlargement per shoulder width towards the camera
_PICTURE = (210.0, 260.0)  # the picture that a signer's scale and centre are given for


def _arm(shoulder: np.ndarray, wrist: np.ndarray, *, upper: float, fore: float) -> tuple[np.ndarray, np.ndarray]:
    """Two-link inverse kinematics: shoulders and wanted wrists (..., 3) → elbows and reached wrists (..., 3)."""
    reach = wrist - shoulder
    # A wrist too near for the bent elbow is held further to the front, where the camera doesn't see the difference.
    nearest = _MIN_REACH * (upper + fore)
    reach[..., 2] = np.maximum(reach[..., 2], np.sqrt(np.maximum(nearest**2 - np.sum(reach[..., :2] ** 2, axis=-1), 0.0)))
    wanted = np.linalg.norm(reach, axis=-1, keepdims=True)
    direction = reach / np.maximum(wanted, 1e-6)
    distance = np.minimum(wanted, _MAX_REACH * (upper + fore))
    along = (upper**2 - fore**2 + distance**2) / (2 * distance)
    aside = np.sqrt(np.maximum(upper**2 - along**2, 0.0))
    # Elbows hang outwards and down, behind a lowered hand and before a raised one.
    hang = np.stack([np.full_like(direction[..., 1], 0.7), np.full_like(direction[..., 1], 0.6), -0.8 * direction[..., 1]], axis=-1)
    hang -= direction * np.sum(hang * direction, axis=-1, keepdims=True)
    hang /= np.maximum(np.linalg.norm(hang, axis=-1, keepdims=True), 1e-6)
    return shoulder + along * direction + aside * hang, shoulder + distance * direction


def _limbs(articulation: Articulation, signer: Signer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shoulders, elbows (T, 2, 3) and hands (T, 2, 21, 3) in side coordinates, dominant first."""
    channels = articulation.hands
    basis = quaternion_rotations(channels[..., ORIENTATION])
    fingers = basis[..., 1]
    wanted = channels[..., POSITION] - PALM_CENTRE * signer.hand * fingers
    lift = 0.1 * np.clip(-wanted[..., 1], 0, 1)
    shoulders = np.zeros_like(wanted)
    shoulders[..., 0], shoulders[..., 1] = 0.5 * signer.shoulders, -lift
    elbows, wrists = _arm(shoulders, wanted, upper=signer.upper_arm, fore=signer.forearm)
    local = hand_points(channels[..., SHAPE].reshape(*channels.shape[:2], 5, 3)) * signer.hand
    hands = wrists[..., None, :] + np.einsum("thij,thkj->thki", basis, local)
    return shoulders, elbows, hands


def _legs(signer: Signer) -> np.ndarray:
    """Hips, knees, ankles (6, 3), left before right, and feet (6, 3): what a whole-body estimator makes up below the picture."""
    half = 0.33 * signer.shoulders
    y = signer.trunk + np.array([0.0, 1.05, 2.05])
    legs = np.array([[side * half * width, level, 0.0] for level, width in zip(y, (1.0, 0.95, 0.9), strict=True) for side in (1, -1)])
    foot = np.array([[0.25, 0.18, 0.25], [0.4, 0.15, 0.2], [-0.05, 0.08, -0.05]])
    feet = np.concatenate([legs[4] + foot, legs[5] + foot * [-1, 1, 1]])
    return np.concatenate([legs, feet])


def body_points(articulation: Articulation, signer: Signer, sway: np.ndarray) -> np.ndarray:
    """All points (T, 133, 3) in shoulder widths: x to the picture's right, y down, z to the camera, from the middle between the shoulders.

    sway: sideways lean of the trunk (T,) in shoulder widths at the shoulders.
    """
    shoulders, elbows, hands = _limbs(articulation, signer)
    face, head = face_points(articulation.face, head=signer.head)
    nose = np.array([0.0, -signer.neck, 0.1])
    points = np.empty((len(hands), NUM_KEYPOINTS, 3))
    points[:, FACE], points[:, :5] = face + nose, head + nose
    points[:, 11:23] = _legs(signer)
    left, right = (0, 1) if signer.left_handed else (1, 0)
    for hand, mirror, start in ((left, 1.0, 0), (right, -1.0, 1)):
        flip = np.array([mirror, 1.0, 1.0])
        points[:, SHOULDERS[start]], points[:, ELBOWS[start]] = shoulders[:, hand] * flip, elbows[:, hand] * flip
        points[:, LEFT_HAND if start == 0 else RIGHT_HAND] = hands[:, hand] * flip
        points[:, WRISTS[start]] = hands[:, hand, 0] * flip
    height = np.clip(1 - points[..., 1] / signer.trunk, 0, 1.5)  # 1 at the shoulders, 0 at the hips
    points[..., 0] += sway[:, None] * height
    return points


def project(points: np.ndarray, signer: Signer, *, width: int, height: int) -> np.ndarray:
    """Points (T, 133, 3) in shoulder widths → pixels (T, 133, 2) of a width × height picture, with the signer turned as they stand."""
    x, y, z = np.moveaxis(points, -1, 0)
    turned = np.cos(signer.yaw) * x + np.sin(signer.yaw) * z
    depth = np.cos(signer.yaw) * z - np.sin(signer.yaw) * x
    x = np.cos(signer.roll) * turned - np.sin(signer.roll) * y
    y = np.sin(signer.roll) * turned + np.cos(signer.roll) * y
    zoom = min(width / _PICTURE[0], height / _PICTURE[1])
    scale = zoom * signer.scale * (1 + _PERSPECTIVE * depth)
    centre = np.array([width / 2, height / 2]) + zoom * (np.array(signer.centre) - np.array(_PICTURE) / 2)
    return np.stack([centre[0] + scale * x, centre[1] + scale * y], axis=-1)
