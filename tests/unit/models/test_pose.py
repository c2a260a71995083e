"""Pose estimation: crops and SimCC by their arithmetic, a whole clip through small ONNX files, every mistake in one line."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import pose
from models.errors import PoseModelError, RecordingError
from models.inputs.frames import Pictures
from models.pose import pose_estimator
from models.pose_geometry import MEAN, Box, Crop
from tests.unit.models.tiny_onnx import POSE_SIZE, dots, write_detector, write_pose_model

SIZE = (120, 90)  # width, height of the test's pictures
NUM_FRAMES = 19  # more than a chunk

sides = st.floats(1, 500)


def wandering(seed: int = 0) -> np.ndarray:
    """Places (T, 3, 2) of three dots that stay in the picture and apart."""
    generator = np.random.default_rng(seed)
    start = np.array([[30, 30], [60, 60], [90, 30]])
    return np.clip(start + np.cumsum(generator.integers(-2, 3, (NUM_FRAMES, 3, 2)), axis=0), 8, np.array(SIZE) - 8).astype(np.float32)


@given(left=st.floats(-50, 50), top=st.floats(-50, 50), width=sides, height=sides, padding=st.floats(1, 2))
def test_a_crop_holds_its_box_and_has_the_inputs_shape(left: float, top: float, width: float, height: float, padding: float) -> None:
    box = Box(left=left, top=top, right=left + width, bottom=top + height)
    crop = Crop.around(box, (192, 256), padding=padding)
    right, bottom = (origin + crop.scale * side for origin, side in zip(crop.origin, crop.input_size, strict=True))
    assert crop.origin[0] <= box.left + 1e-6
    assert crop.origin[1] <= box.top + 1e-6
    assert right >= box.right - 1e-6
    assert bottom >= box.bottom - 1e-6
    assert (crop.origin[0] + right) / 2 == pytest.approx(left + width / 2, abs=1e-6)
    assert max(width / (right - crop.origin[0]), height / (bottom - crop.origin[1])) == pytest.approx(1 / padding)


@given(st.integers(0, 47), st.integers(0, 63), st.floats(0.1, 5), st.floats(-30, 30), st.floats(-30, 30))
def test_peaks_come_back_where_the_crop_was_taken(column: int, row: int, scale: float, x: float, y: float) -> None:
    crop = Crop(origin=(x, y), scale=scale, input_size=(48, 64))
    simcc_x, simcc_y = np.zeros((1, 1, 96), np.float32), np.zeros((1, 1, 128), np.float32)
    simcc_x[0, 0, 2 * column], simcc_y[0, 0, 2 * row] = 0.9, 0.7
    assert crop.places(simcc_x, simcc_y)[0, 0] == pytest.approx([x + scale * column, y + scale * row, 0.7], abs=1e-3)


def test_a_peak_below_zero_is_no_confidence() -> None:
    crop = Crop(origin=(0, 0), scale=1, input_size=(4, 4))
    assert crop.places(np.full((1, 1, 8), -0.5), np.full((1, 1, 8), 0.5))[0, 0, 2] == 0


def test_a_crop_is_the_picture_at_its_scale_normalised() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 6, 4, 3), dtype=np.uint8)
    seen = Crop(origin=(1, 2), scale=1, input_size=(4, 6)).cut(picture)
    expected = (picture[0, 2:, 1:].astype(np.float32) - MEAN) / np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(seen[0, :, :4, :3], expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(seen[0, :, 4:, 3:], np.broadcast_to((-MEAN / [58.395, 57.12, 57.375])[:, None, None], (3, 2, 1)), rtol=1e-5)


def test_points_are_found_in_every_frame(tmp_path: Path) -> None:
    places = wandering()
    estimator = pose_estimator(write_pose_model(tmp_path / "pose.onnx"))
    told: list[int] = []
    keypoints = estimator.estimate(Pictures(array=dots(places, SIZE)), watch=told.append)
    assert keypoints.shape == (NUM_FRAMES, 133, 3)
    assert keypoints.dtype == np.float32
    assert told == [16, 3]
    found = keypoints[..., :2].reshape(NUM_FRAMES, -1, 2)
    scale = 1.25 * max(SIZE[0] / POSE_SIZE[0], SIZE[1] / POSE_SIZE[1])
    for point in range(133):
        assert np.abs(found[:, point] - places[:, point % 3]).max() <= 3 + scale  # the dot's half and a pixel of the input
    assert (keypoints[..., 2] > 0).all()


def test_a_frame_alone_is_the_frame_among_others(tmp_path: Path) -> None:
    pictures = dots(wandering(), SIZE)
    estimator = pose_estimator(write_pose_model(tmp_path / "pose.onnx"))
    whole = estimator.estimate(Pictures(array=pictures))
    np.testing.assert_array_equal(estimator.estimate(Pictures(array=pictures[7:8]))[0], whole[7])


def test_a_model_of_a_fixed_batch_answers_the_same(tmp_path: Path) -> None:
    frames = Pictures(array=dots(wandering(), SIZE))
    free, fixed = (pose_estimator(write_pose_model(tmp_path / f"{batch}.onnx", batch=batch)) for batch in (None, 4))
    np.testing.assert_allclose(fixed.estimate(frames), free.estimate(frames), rtol=1e-5, atol=1e-5)


def test_the_detector_narrows_the_crop_to_the_largest_person(tmp_path: Path) -> None:
    # In input pixels of 64: the picture of 120 × 90 is 64 × 48 there.
    boxes = np.array([[5, 5, 20, 20, 0.9], [10, 8, 50, 44, 0.8], [0, 0, 64, 48, 0.1], [0, 0, 64, 48, 0.99]])
    detector = write_detector(tmp_path / "yolox_tiny.onnx", boxes, [0, 0, 0, 7])
    model = write_pose_model(tmp_path / "pose.onnx")
    estimator = pose_estimator(model, detector)
    frames = Pictures(array=dots(wandering(), SIZE))
    box = estimator.signer_box(frames)
    assert [box.left, box.top, box.right, box.bottom] == pytest.approx([10 * 1.875, 8 * 1.875, 50 * 1.875, 44 * 1.875])
    keypoints = estimator.estimate(frames)
    assert np.abs(keypoints[:, :3, :2] - wandering()).max() <= 3 + 1.25 * 40 * 1.875 / 48
    part = Pictures(array=frames.array[9:10])  # of a stream: the signer stays where they were seen at first
    np.testing.assert_array_equal(estimator.estimate(part, box=box)[0], keypoints[9])


def test_a_clip_without_a_person_is_no_recording(tmp_path: Path) -> None:
    detector = write_detector(tmp_path / "rtmdet_nano.onnx", np.array([[0, 0, 64, 48, 0.2]]), [0])
    estimator = pose_estimator(write_pose_model(tmp_path / "pose.onnx"), detector)
    with pytest.raises(RecordingError, match=r"^nobody found in 8 frames by rtmdet_nano.onnx$"):
        estimator.estimate(Pictures(array=dots(wandering(), SIZE)))


def test_the_extractor_is_named_by_files_and_their_checksums(tmp_path: Path) -> None:
    model, detector = write_pose_model(tmp_path / "rtmw.onnx"), write_detector(tmp_path / "yolox.onnx", np.zeros((1, 5)), [0])
    digests = [hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in (model, detector)]
    assert pose_estimator(model).extractor == f"rtmw@{digests[0]}"
    assert pose_estimator(model, detector).extractor == f"rtmw@{digests[0]}+yolox@{digests[1]}"


def test_an_estimator_travels_to_other_processes(tmp_path: Path) -> None:
    estimator = pose_estimator(write_pose_model(tmp_path / "pose.onnx"))
    frames = Pictures(array=dots(wandering()[:2], SIZE))
    expected = estimator.estimate(frames)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(estimator)).estimate(frames), expected)


def test_an_empty_clip_has_no_keypoints(tmp_path: Path) -> None:
    estimator = pose_estimator(write_pose_model(tmp_path / "pose.onnx"))
    assert estimator.estimate(Pictures(array=np.empty((0, 8, 8, 3), np.uint8))).shape == (0, 133, 3)


def test_a_missing_file_is_told_with_what_to_fetch_and_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(PoseModelError) as caught:
        pose_estimator(tmp_path / "rtmw.onnx", tmp_path / "yolox.onnx")
    text = str(caught.value)
    assert "\n" not in text
    assert f"{tmp_path / 'rtmw.onnx'}: no such pose model: fetch https://" in text
    assert "rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122.zip and put its end2end.onnx there" in text
    assert f"{tmp_path / 'yolox.onnx'}: no such person detector: fetch https://" in text


def test_a_missing_library_is_told_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose, "find_spec", lambda name: None)
    with pytest.raises(PoseModelError, match=r"^estimating keypoints needs the extra 'rtm': pip install 'signray\[rtm\]'; .*rtmw.onnx: no such pose model"):
        pose_estimator(tmp_path / "rtmw.onnx")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    frames = Pictures(array=dots(wandering()[:1], SIZE))
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(PoseModelError, match=r"text.onnx: not a readable ONNX model \(.*: fetch it again$"):
        pose_estimator(tmp_path / "text.onnx").estimate(frames)
    with pytest.raises(PoseModelError, match=r"body.onnx: answers \(1, 17, 96\), \(1, 17, 128\), and SimCC of 133 points"):
        pose_estimator(write_pose_model(tmp_path / "body.onnx", num_points=17)).estimate(frames)
    with pytest.raises(PoseModelError, match=r"one.onnx: answers \(1, 133, 96\), and SimCC"):
        pose_estimator(write_pose_model(tmp_path / "one.onnx", outputs=("simcc_x",))).estimate(frames)
    pose_model = write_pose_model(tmp_path / "pose.onnx")
    detector = write_detector(tmp_path / "detector.onnx", np.zeros((1, 5)), [0])
    with pytest.raises(PoseModelError, match=r"detector.onnx: its name says neither yolox nor rtmdet"):
        pose_estimator(pose_model, detector).estimate(frames)
    with pytest.raises(PoseModelError, match=r"yolox.onnx: answers .*, and boxes \(1, N, 5\) with labels"):
        pose_estimator(pose_model, write_pose_model(tmp_path / "yolox.onnx", batch=1)).estimate(frames)
