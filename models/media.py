"""Reading keypoint files: `.npz` and, with the optional extra `pose`, `.pose`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import RecordingError

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})

# Component names of the layouts that `.pose` files come in, each in the order of our points. Holistic's metric body points are left out.
_POSE_LAYOUTS = (
    ("BODY", "FACE", "LEFT_HAND", "RIGHT_HAND"),  # COCO-WholeBody
    ("BODY_133", "FACE_133", "LEFT_HAND_133", "RIGHT_HAND_133"),  # AlphaPose, the same points
    ("POSE_LANDMARKS", "FACE_LANDMARKS", "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS"),  # MediaPipe Holistic
    ("pose_keypoints_2d", "face_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"),  # OpenPose
)
_IGNORED_COMPONENTS = frozenset({"POSE_WORLD_LANDMARKS"})


@dataclass(frozen=True, kw_only=True, eq=False)
class KeypointClip:
    """Keypoints as their file holds them: float32 (T, K, 3), x and y in pixels and confidence; fps, width and height are None where the file has none."""

    keypoints: np.ndarray
    fps: float | None
    width: int | None
    height: int | None


def read_keypoints(path: Path) -> KeypointClip:
    """Read a keypoint file, `.npz` or `.pose`; whatever number of points and frames it holds.

    A fourth channel (MediaPipe's depth) is left out: x, y, z, confidence become x, y, confidence.
    Errors: RecordingError naming the file where it is missing, unreadable, of another kind or of another layout, or where it needs the extra `pose`.
    """
    reader = KEYPOINT_READERS.get(path.suffix.lower())
    if reader is None:
        raise RecordingError(f"{path}: not a keypoint file: the kinds are {', '.join(KEYPOINT_READERS)}")
    if not path.is_file():
        raise RecordingError(f"{path}: no such keypoint file")
    return reader(path)


def _read_npz(path: Path) -> KeypointClip:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # np.load leaves a damaged file open
            record = {key: arrays[key] for key in ("keypoints", "fps", "frame_size") if key in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise RecordingError(f"{path}: not a readable .npz file ({' '.join(str(error).split())[:100]})") from None
    if "keypoints" not in record:
        raise RecordingError(f"{path}: has no array 'keypoints' (frames, points, 3)")
    size = record.get("frame_size")
    if size is not None and (size.shape != (2,) or not np.isfinite(size).all()):
        raise RecordingError(f"{path}: 'frame_size' must be (width, height), not an array of shape {size.shape}")
    fps = record.get("fps")
    if fps is not None and fps.size != 1:
        raise RecordingError(f"{path}: 'fps' must be one number, not an array of shape {fps.shape}")
    return KeypointClip(
        keypoints=_three_channels(record["keypoints"], path),
        fps=None if fps is None else float(fps.reshape(())),
        width=None if size is None else int(size[0]),
        height=None if size is None else int(size[1]),
    )


def _three_channels(keypoints: np.ndarray, path: Path) -> np.ndarray:
    if keypoints.ndim != 3 or keypoints.shape[2] not in (3, 4) or keypoints.dtype.kind not in "fiu":
        raise RecordingError(f"{path}: keypoints must be numbers (frames, points, 3: x, y, confidence), found {keypoints.dtype} {keypoints.shape}")
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is reported as such
        return np.ascontiguousarray(keypoints[..., [0, 1, -1]], dtype=np.float32)


def _read_pose(path: Path) -> KeypointClip:
    try:
        from pose_format import Pose
    except ImportError:
        raise RecordingError(f"{path}: reading .pose files needs the extra 'pose': pip install 'signray[pose]'") from None
    try:
        pose = Pose.read(path.read_bytes())
        points = _component_points(pose.header.components, path)
        positions, confidences = np.ma.filled(pose.body.data, 0), np.ma.filled(pose.body.confidence, 0)
    except RecordingError:
        raise
    except Exception as error:  # the library's reader raises whatever the damaged bytes lead to
        raise RecordingError(f"{path}: not a readable .pose file ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None
    if positions.ndim != 4 or positions.shape[1] != 1:
        raise RecordingError(f"{path}: shows {positions.shape[1]} people, and one is expected: keep the signer's points only")
    keypoints = np.concatenate([positions[:, 0, points, :2], confidences[:, 0, points, None]], axis=2)
    dimensions = pose.header.dimensions
    return KeypointClip(keypoints=keypoints.astype(np.float32), fps=float(pose.body.fps), width=int(dimensions.width), height=int(dimensions.height))


def _component_points(components: Any, path: Path) -> np.ndarray:
    """Positions of the layout's points among all points of the file, in the layout's order."""
    offsets = np.cumsum([0] + [len(component.points) for component in components])
    spans = {component.name: np.arange(start, start + len(component.points)) for component, start in zip(components, offsets[:-1], strict=True)}
    for layout in _POSE_LAYOUTS:
        if set(layout) == set(spans) - _IGNORED_COMPONENTS:
            return np.concatenate([spans[name] for name in layout])
    known = "; ".join(", ".join(layout) for layout in _POSE_LAYOUTS)
    raise RecordingError(f"{path}: components {', '.join(spans)} are of no known layout: the layouts are {known}")


KEYPOINT_READERS: dict[str, Callable[[Path], KeypointClip]] = {".npz": _read_npz, ".pose": _read_pose}
