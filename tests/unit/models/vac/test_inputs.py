"""Inputs of the VAC family: published lengths and draws, crops and mirroring on the device, pictures of any size, what is refused."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.crops import Crop
from models.inputs.frames import EncodedPictures, Pictures
from models.vac.inputs import FrameInputs, training_frames

SMALL = FrameInputs(size=20, crop=16)


def clip(num_frames: int = 8, *, width: int = 20, height: int = 20, seed: int = 0, name: str = "clip") -> Clip:
    pictures = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Clip(name=name, keypoints=np.zeros((num_frames, 0, 3), np.float32), frames=Pictures(array=pictures), frame_size=(width, height))


def pixels(of: Clip) -> np.ndarray:
    assert isinstance(of.frames, Pictures)
    return of.frames.array


class Fixed(np.random.Generator):
    """A generator whose uniform draw is told."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        return self.value


@pytest.mark.parametrize(
    ("num_frames", "draw", "length"), [(100, 0.0, 80), (100, 0.5, 100), (100, 0.999, 120), (27, 0.5, 32), (145, 0.25, 132), (299, 0.9, 232)]
)
def test_lengths_are_the_published_ones(num_frames: int, draw: float, length: int) -> None:
    assert FrameInputs().training_length(num_frames, Fixed(draw)) == length


def test_without_rescaling_a_clip_keeps_its_frames() -> None:
    inputs = FrameInputs(rescale=0)
    assert inputs.training_length(341, np.random.default_rng(0)) == 341
    assert training_frames(341, 341, np.random.default_rng(0)).tolist() == list(range(341))
    assert inputs.shortest_length(341) == 341


@settings(max_examples=40, deadline=None)
@given(num_frames=st.integers(1, 300), length=st.integers(1, 232), seed=st.integers(0, 999))
def test_frames_of_training_are_sorted_and_distinct_where_there_are_enough(num_frames: int, length: int, seed: int) -> None:
    frames = training_frames(num_frames, length, np.random.default_rng(seed))
    assert len(frames) == length
    assert (np.diff(frames) >= (1 if length <= num_frames else 0)).all()
    assert frames.min() >= 0
    assert frames.max() < num_frames


def test_evaluation_sees_the_centre_of_every_frame() -> None:
    one, other = clip(6), clip(9, seed=1)
    batch = SMALL.evaluation_batch([one, other])
    assert batch.frames is not None
    assert batch.frames.dtype == torch.uint8
    assert batch.views == ()
    assert batch.lengths.tolist() == [6, 9]
    seen = SMALL.on_device(batch).frames
    assert seen is not None
    assert seen.dtype == torch.uint8
    for row, each in zip(seen, (one, other), strict=True):
        np.testing.assert_array_equal(row[: each.num_frames].permute(0, 2, 3, 1), pixels(each)[:, 2:18, 2:18])
    np.testing.assert_array_equal(seen[0, 6:], seen[0, 5:6].expand(3, -1, -1, -1))  # the last frame repeats
    assert FrameInputs()._view(np.random.default_rng(0)).crop.height == 224


def test_training_sees_each_clip_s_own_view_on_the_device() -> None:
    clips = [clip(8, seed=seed) for seed in range(6)]
    batch = SMALL.training_batch(clips, [8] * 6, np.random.default_rng(3))
    seen = SMALL.on_device(batch).frames
    assert seen is not None
    assert {view.mirrored for view in batch.views} == {True, False}
    for row, view, each in zip(seen, batch.views, clips, strict=True):
        expected = pixels(each)[:, view.crop.top : view.crop.top + 16, view.crop.left : view.crop.left + 16]
        np.testing.assert_array_equal(row.permute(0, 2, 3, 1), expected[:, :, ::-1] if view.mirrored else expected)


def test_views_are_uniform_and_repeat_by_their_generator() -> None:
    draws = np.random.default_rng(0)
    views = [SMALL._view(draws) for _ in range(2000)]
    assert Counter(view.crop.left for view in views).keys() == Counter(view.crop.top for view in views).keys() == set(range(5))
    assert min(Counter(view.crop.left for view in views).values()) > 330
    assert 0.46 < np.mean([view.mirrored for view in views]) < 0.54
    assert SMALL._view(np.random.default_rng(5)) == SMALL._view(np.random.default_rng(5))
    assert FrameInputs(size=8, crop=8, mirror_probability=0)._view(draws).crop == Crop(top=0, left=0, height=8, width=8)


def test_only_the_frames_that_are_seen_are_decoded() -> None:
    asked: list[int] = []

    class Watched(Pictures):
        def decode(self, indices: object) -> np.ndarray:
            asked.extend(np.asarray(indices).tolist())
            return super().decode(np.asarray(indices))

    whole = clip(60)
    watched = Clip(name="clip", keypoints=whole.keypoints, frames=Watched(array=pixels(whole)), frame_size=whole.frame_size)
    SMALL.training_batch([watched], [48], np.random.default_rng(0))
    assert len(asked) == len(set(asked)) == 48


def test_pictures_of_other_sizes_are_brought_to_one() -> None:
    wide, own = clip(5, width=40, height=30), clip(5, seed=1)
    batch = SMALL.evaluation_batch([wide, own])
    assert batch.frames is not None
    expected = cv2.resize(pixels(wide)[2], (20, 20), interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(batch.frames[0, 2].permute(1, 2, 0), expected)
    np.testing.assert_array_equal(batch.frames[1, :5].permute(0, 2, 3, 1), pixels(own))


def test_rows_cut_from_the_top() -> None:
    each = clip(5)
    batch = FrameInputs(size=20, crop=16, top_cut=4).evaluation_batch([each])
    assert batch.frames is not None
    np.testing.assert_array_equal(batch.frames[0, 1].permute(1, 2, 0), cv2.resize(pixels(each)[1, 4:], (20, 20), interpolation=cv2.INTER_LINEAR))


def test_what_can_t_be_read_is_refused_by_name() -> None:
    bare = Clip(name="bare", keypoints=np.zeros((9, 133, 3), np.float32), frame_size=(20, 20))
    assert SMALL.problem(bare) == "no pictures: this recogniser reads video, and the clip has keypoints only"
    assert SMALL.problem(clip(4)) == "too short: 4 frames found, at least 5 needed"
    uneven = Clip(name="uneven", keypoints=np.zeros((9, 133, 3), np.float32), frames=clip(8).frames, frame_size=(20, 20))
    assert SMALL.problem(uneven) == "frames and keypoints differ: 8 pictures, 9 rows of keypoints"
    empty = Clip(name="empty", keypoints=np.zeros((0, 0, 3), np.float32), frames=EncodedPictures(pictures=[], size=(20, 20)), frame_size=(20, 20))
    assert SMALL.problem(empty) == "no frames: the video is empty"
    broken = Clip(name="broken", keypoints=np.zeros((6, 0, 3), np.float32), frames=EncodedPictures(pictures=[b"x"] * 6, size=(20, 20)), frame_size=(20, 20))
    with pytest.raises(RecordingError, match=r"^broken: frame 0 can't be decoded"):
        SMALL.evaluation_batch([broken])


@pytest.mark.parametrize(
    ("options", "text"), [({"size": 100}, r"crop \(224\) is above size \(100\)"), ({"top_cut": 256}, r"top_cut \(256\) leaves nothing of size \(256\)")]
)
def test_options_that_can_t_be(options: dict[str, int], text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        FrameInputs.model_validate(options)
