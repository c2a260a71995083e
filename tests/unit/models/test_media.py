"""Keypoint files: both kinds, all layouts, and what is said of damaged ones."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import RecordingError
from models.media import parse_keypoints, read_keypoints

COCO = (("BODY", 23), ("FACE", 68), ("LEFT_HAND", 21), ("RIGHT_HAND", 21))


def save_pose(path: Path, components: Any, *, people: int = 1) -> np.ndarray:
    """Write a `.pose` file with random points; returns its (T, K, 3) points of the first person in the file's order."""
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    header_components = [PoseHeaderComponent(name, [f"{name}{i}" for i in range(count)], [], [], "XYC") for name, count in components]
    num_points = sum(count for _, count in components)
    rng = np.random.default_rng(0)
    data, confidence = rng.uniform(0, 200, (5, people, num_points, 2)).astype(np.float32), rng.uniform(0.1, 1, (5, people, num_points)).astype(np.float32)
    confidence[2, :, 3] = 0
    pose = Pose(PoseHeader(0.2, PoseHeaderDimensions(320, 240, 0), header_components), NumPyPoseBody(25.0, data, confidence))
    with path.open("wb") as file:
        pose.write(file)
    points = np.concatenate([data[:, 0], confidence[:, 0, :, None]], axis=2)
    points[points[..., 2] == 0] = 0
    return points


@pytest.mark.parametrize("num_points", [133, 137, 178, 543])
@pytest.mark.parametrize("channels", [3, 4])
def test_npz_of_any_layout(tmp_path: Path, num_points: int, channels: int) -> None:
    points = np.random.default_rng(1).normal(size=(6, num_points, channels))
    np.savez(tmp_path / "a.npz", keypoints=points, fps=np.float32(29.97), frame_size=np.array([640, 360]))
    clip = read_keypoints(tmp_path / "a.npz")
    assert clip.keypoints.dtype == np.float32
    assert np.array_equal(clip.keypoints, points[..., [0, 1, channels - 1]].astype(np.float32))
    assert (clip.fps, clip.width, clip.height) == (pytest.approx(29.97), 640, 360)


def test_npz_without_rate_and_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.zeros((6, 133, 3), np.float32))
    clip = read_keypoints(tmp_path / "a.npz")
    assert (clip.fps, clip.width, clip.height) == (None, None, None)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": np.zeros(3)}, "no array 'keypoints'"),
        ({"keypoints": np.zeros((32, 258))}, r"\(32, 258\)"),
        ({"keypoints": np.zeros((3, 133, 3)), "frame_size": np.zeros(3)}, "width, height"),
        ({"keypoints": np.zeros((3, 133, 3)), "fps": np.zeros(3)}, "one number"),
        ({"keypoints": np.array([{"a": 1}])}, "readable .npz"),
    ],
)
def test_other_arrays_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "odd.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(RecordingError, match=message) as caught:
        read_keypoints(tmp_path / "odd.npz")
    assert "odd.npz" in str(caught.value)


def test_pose_in_whole_body_order(tmp_path: Path) -> None:
    points = save_pose(tmp_path / "a.pose", COCO)
    clip = read_keypoints(tmp_path / "a.pose")
    assert clip.keypoints.shape == (5, 133, 3)
    assert np.allclose(clip.keypoints, points, atol=1e-4)
    assert (clip.fps, clip.width, clip.height) == (25.0, 320, 240)


def test_pose_components_in_another_order(tmp_path: Path) -> None:
    points = save_pose(tmp_path / "a.pose", (COCO[2], COCO[0], COCO[3], COCO[1]))
    expected = points[:, [*range(21, 44), *range(65, 133), *range(21), *range(44, 65)]]
    assert np.allclose(read_keypoints(tmp_path / "a.pose").keypoints, expected, atol=1e-4)


def test_holistic_leaves_the_metric_points_out(tmp_path: Path) -> None:
    parts = (("POSE_LANDMARKS", 33), ("FACE_LANDMARKS", 468), ("LEFT_HAND_LANDMARKS", 21), ("RIGHT_HAND_LANDMARKS", 21), ("POSE_WORLD_LANDMARKS", 33))
    save_pose(tmp_path / "a.pose", parts)
    assert read_keypoints(tmp_path / "a.pose").keypoints.shape == (5, 543, 3)


def test_pose_files_that_are_refused(tmp_path: Path) -> None:
    save_pose(tmp_path / "other.pose", (("ARMS", 4),))
    save_pose(tmp_path / "two.pose", COCO, people=2)
    (tmp_path / "cut.pose").write_bytes((tmp_path / "two.pose").read_bytes()[:300])
    for name, message in (("other", "components ARMS"), ("two", "2 people"), ("cut", "not a readable .pose")):
        with pytest.raises(RecordingError, match=message) as caught:
            read_keypoints(tmp_path / f"{name}.pose")
        assert "\n" not in str(caught.value)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pose(tmp_path / "a.pose", COCO)
    real_import = builtins.__import__

    def without_pose(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.startswith("pose_format"):
            raise ImportError(name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_pose)
    with pytest.raises(RecordingError, match=r"signray\[pose\]"):
        read_keypoints(tmp_path / "a.pose")


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "a.txt").write_text("x")
    for name in ("cut.npz", "a.txt", "missing.npz"):
        with pytest.raises(RecordingError, match=name):
            read_keypoints(tmp_path / name)


def test_content_is_read_without_a_file_and_within_a_limit(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", keypoints=np.zeros((6, 133, 3), np.float32))
    content = (tmp_path / "a.npz").read_bytes()
    assert parse_keypoints(content, ".npz", "named", max_bytes=6 * 133 * 3 * 4).keypoints.shape == (6, 133, 3)
    with pytest.raises(RecordingError, match=r"named: not a readable \.npz file .keypoints\.npy would unpack to 9576 bytes, and 9575 are allowed"):
        parse_keypoints(content, ".npz", "named", max_bytes=9575)


def test_a_head_that_announces_more_than_the_file_holds(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", keypoints=np.zeros((6, 133, 3), np.float32))
    forged = (tmp_path / "a.npz").read_bytes().replace(b"'shape': (6, 133, 3), }    ", b"'shape': (6000000, 133, 3)}")
    with pytest.raises(RecordingError, match="announces 9576000000 bytes and holds"):
        parse_keypoints(forged, ".npz", "forged")
