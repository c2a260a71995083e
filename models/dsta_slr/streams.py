"""The streams of DSTA-SLR: views of one skeleton sequence, and what is done to a view before the network (dsta_slr.md, section 2).

Sequences are (..., T, J, 3): x, y in pixels, confidence. Leading axes are batched throughout; NumPy arrays in, float32 arrays out.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.dsta_slr.skeleton import LINKS, MIRRORED, NOSE, NUM_JOINTS

Skeletons = NDArray[np.floating]


class Stream(StrEnum):
    """A view. `bone` and `bone_motion` are the published ones: each child loses its parent's *bone* where that was computed before (alternating sums);

    `true_bone` and `true_bone_motion` subtract the parent itself, as the method describes. Weights of the two kinds don't mix.
    """

    JOINT = "joint"
    BONE = "bone"
    JOINT_MOTION = "joint_motion"
    BONE_MOTION = "bone_motion"
    TRUE_BONE = "true_bone"
    TRUE_BONE_MOTION = "true_bone_motion"

    @property
    def is_motion(self) -> bool:
        return self.value.endswith("motion")

    @property
    def is_bone(self) -> bool:
        return "bone" in self.value


PUBLISHED = (Stream.JOINT, Stream.BONE, Stream.JOINT_MOTION, Stream.BONE_MOTION)  # the order of the fusion weights


@cache
def bone_matrix(stream: Stream) -> NDArray[np.float64]:
    """(J, J) with the stream's bones as `matrix @ joints`, all entries −1, 0 or 1; the identity for joint streams. Read-only."""
    matrix = np.eye(NUM_JOINTS)
    source = matrix if stream in (Stream.BONE, Stream.BONE_MOTION) else matrix.copy()
    if stream.is_bone:
        for parent, child in LINKS:
            matrix[child] -= source[parent]  # the published program works in place: a parent may be a bone by then
    matrix.setflags(write=False)
    return matrix


def view(skeletons: Skeletons, stream: Stream) -> NDArray[np.float32]:
    """The stream of skeletons (..., T, J, 3): bones among joints, then differences from each frame to the next, confidence included.

    The last frame's motion is zero.
    """
    seen = np.asarray(skeletons, dtype=np.float32)
    if stream.is_bone:
        seen = bone_matrix(stream).astype(np.float32) @ seen
    if stream.is_motion:
        moved = np.zeros_like(seen)
        np.subtract(seen[..., 1:, :, :], seen[..., :-1, :, :], out=moved[..., :-1, :, :])
        seen = moved
    return seen


def evaluation_frames(num_frames: int, window: int) -> NDArray[np.int64]:
    """`window` indices spread evenly over the clip: int(i·T/W)."""
    return (np.arange(window) * num_frames) // window


def training_frames(num_frames: int, window: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`window` sorted indices drawn without replacement; from as many copies of the clip as are needed where it is shorter. All frames where T = W."""
    if num_frames == window:
        return np.arange(window)
    copies = -(-window // num_frames)
    return np.sort(generator.permutation(np.tile(np.arange(num_frames), copies))[:window])


def mirrored(seen: Skeletons, *, frame_width: float, is_vector: bool = False) -> NDArray[np.float32]:
    """Left and right exchanged, of joints and in the picture: x ← frame_width − x, or −x of vectors."""
    out = np.asarray(seen, dtype=np.float32)[..., MIRRORED, :]
    out[..., 0] = -out[..., 0] if is_vector else frame_width - out[..., 0]
    return out


def centred(seen: Skeletons, *, is_vector: bool = False) -> NDArray[np.float32]:
    """x and y less their means over the frames of the nose; taken off every joint, or, of vectors, off the nose only."""
    out = np.array(seen, dtype=np.float32)
    joints = slice(NOSE, NOSE + 1) if is_vector else slice(None)
    out[..., joints, :2] -= out[..., NOSE : NOSE + 1, :2].mean(axis=-3, keepdims=True)
    return out


def shifted(seen: Skeletons, offsets: NDArray[np.floating]) -> NDArray[np.float32]:
    """x and y plus `offsets` (..., 2), one pair per clip."""
    out = np.array(seen, dtype=np.float32)
    out[..., :2] += np.asarray(offsets, dtype=np.float32)[..., None, None, :]
    return out
