"""Reading keypoint files: `.npz` and, with the optional extra `pose`, `.pose`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import RecordingError

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
    """Keypoints as their file holds them: float32 (T, K, 3), x and y in pixels and confidence; fps, width and height are None where the file has none.

    extractor: what estimated them, name and version (`models.pose.PoseEstimator.extractor`), where the file says it.
    """

    keypoints: np.ndarray
    fps: float | None
    width: int | None
    height: int | None
    extractor: str | None = None


def read_keypoints(path: Path) -> KeypointClip:
    """Read a keypoint file, `.npz` or `.pose`; whatever number of points and frames it holds.

    A fourth channel (MediaPipe's depth) is left out: x, y, z, confidence become x, y, confidence.
    Errors: RecordingError naming the file where it is missing, unreadable, of another kind or of another layout, or where it needs the extra `pose`.
    """
    if path.suffix.lower() not in KEYPOINT_READERS:
        raise RecordingError(f"{path}: not a keypoint file: the kinds are {', '.join(KEYPOINT_READERS)}")
    if not path.is_file():
        raise RecordingError(f"{path}: no such keypoint file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror})") from None
    return parse_keypoints(content, path.suffix.lower(), str(path))


def parse_keypoints(content: bytes, kind: str, name: str, *, max_bytes: int | None = None) -> KeypointClip:
    """The keypoints of a file's content; `kind` is its suffix, a key of KEYPOINT_READERS, and `name` is what errors call it.

    max_bytes: of the unpacked keypoints; an archive that announces more is refused before it is unpacked. Errors: RecordingError as `read_keypoints`.
    """
    return KEYPOINT_READERS[kind](content, name, max_bytes)


def _parse_npz(content: bytes, name: str, max_bytes: int | None) -> KeypointClip:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = [key for key in ("keypoints", "fps", "frame_size", "extractor") if f"{key}.npy" in archive.namelist()]
            record = {key: _array(archive, f"{key}.npy", max_bytes) for key in members}
    except Exception as error:  # zipfile, zlib, bz2, lzma and NumPy each raise what damaged bytes lead to
        raise RecordingError(f"{name}: not a readable .npz file ({' '.join(str(error).split())[:100] or type(error).__name__})") from None
    if "keypoints" not in record:
        raise RecordingError(f"{name}: has no array 'keypoints' (frames, points, 3)")
    size = record.get("frame_size")
    if size is not None and (size.shape != (2,) or size.dtype.kind not in "fiu" or not np.isfinite(size).all()):
        raise RecordingError(f"{name}: 'frame_size' must be (width, height), not an array of shape {size.shape}")
    fps = record.get("fps")
    if fps is not None and (fps.size != 1 or fps.dtype.kind not in "fiu"):
        raise RecordingError(f"{name}: 'fps' must be one number, not an array of shape {fps.shape}")
    extractor = record.get("extractor")
    if extractor is not None and (extractor.size != 1 or extractor.dtype.kind != "U"):
        raise RecordingError(f"{name}: 'extractor' must be one text, the estimator's name and version, not {extractor.dtype} {extractor.shape}")
    return KeypointClip(
        keypoints=_three_channels(record["keypoints"], name),
        fps=None if fps is None else float(fps.reshape(())),
        width=None if size is None else int(size[0]),
        height=None if size is None else int(size[1]),
        extractor=None if extractor is None else str(extractor.reshape(())),
    )


def _array(archive: zipfile.ZipFile, member: str, max_bytes: int | None) -> np.ndarray:
    """An array of an archive, without pickles. Raises ValueError where its head announces more than the member holds, or than `max_bytes`."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"{member} is of format {version}")
        shape, _, dtype = read_header(file)
    num_bytes, held = math.prod(shape) * dtype.itemsize, archive.getinfo(member).file_size
    if min(shape, default=0) < 0 or num_bytes > held:  # NumPy would allocate first
        raise ValueError(f"{member} announces {num_bytes} bytes and holds {held}")
    if max_bytes is not None and num_bytes > max_bytes:
        raise ValueError(f"{member} would unpack to {num_bytes} bytes, and {max_bytes} are allowed")
    with archive.open(member) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _three_channels(keypoints: np.ndarray, name: str) -> np.ndarray:
    if keypoints.ndim != 3 or keypoints.shape[2] not in (3, 4) or keypoints.dtype.kind not in "fiu":
        raise RecordingError(f"{name}: keypoints must be numbers (frames, points, 3: x, y, confidence), found {keypoints.dtype} {keypoints.shape}")
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is reported as such
        return np.ascontiguousarray(keypoints[..., [0, 1, -1]], dtype=np.float32)


def _parse_pose(content: bytes, name: str, max_bytes: int | None) -> KeypointClip:
    # The format isn't compressed: what it unpacks to is bounded by the content itself.
    try:
        from pose_format import Pose
    except ImportError:
        raise RecordingError(f"{name}: reading .pose files needs the extra 'pose': pip install 'signray[pose]'") from None
    try:
        pose = Pose.read(content)
        points = _component_points(pose.header.components, name)
        positions, confidences = np.ma.filled(pose.body.data, 0), np.ma.filled(pose.body.confidence, 0)
    except RecordingError:
        raise
    except Exception as error:  # the library's reader raises whatever the damaged bytes lead to
        raise RecordingError(f"{name}: not a readable .pose file ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None
    if positions.ndim != 4 or positions.shape[1] != 1:
        raise RecordingError(f"{name}: shows {positions.shape[1]} people, and one is expected: keep the signer's points only")
    keypoints = np.concatenate([positions[:, 0, points, :2], confidences[:, 0, points, None]], axis=2)
    dimensions = pose.header.dimensions
    return KeypointClip(keypoints=keypoints.astype(np.float32), fps=float(pose.body.fps), width=int(dimensions.width), height=int(dimensions.height))


def _component_points(components: Any, name: str) -> np.ndarray:
    """Positions of the layout's points among all points of the file, in the layout's order."""
    offsets = np.cumsum([0] + [len(component.points) for component in components])
    spans = {component.name: np.arange(start, start + len(component.points)) for component, start in zip(components, offsets[:-1], strict=True)}
    for layout in _POSE_LAYOUTS:
        if set(layout) == set(spans) - _IGNORED_COMPONENTS:
            return np.concatenate([spans[component] for component in layout])
    known = "; ".join(", ".join(layout) for layout in _POSE_LAYOUTS)
    raise RecordingError(f"{name}: components {', '.join(spans)} are of no known layout: the layouts are {known}")


KEYPOINT_READERS: dict[str, Callable[[bytes, str, int | None], KeypointClip]] = {".npz": _parse_npz, ".pose": _parse_pose}
