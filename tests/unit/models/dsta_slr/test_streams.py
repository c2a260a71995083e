"""Streams and input transforms against the published program's loops, written out per frame and joint."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.dsta_slr.inputs import SkeletonInputs
from models.dsta_slr.skeleton import LINKS, MIRRORED, WHOLE_BODY
from models.dsta_slr.streams import Stream, centred, evaluation_frames, mirrored, shifted, training_frames, view
from models.errors import RecordingError
from models.inputs.clip import Clip
from tests.unit.models.dsta_slr.tiny import signing

STREAMS = list(Stream)


def by_loops(clip: NDArray[np.float32], stream: Stream) -> NDArray[np.float32]:
    """(T, J, 3): in place for the published bones, from a copy for the true ones."""
    out = clip.copy()
    source = clip if stream.value.startswith("true") else out
    if stream.is_bone:
        for parent, child in LINKS:
            for frame in range(len(clip)):
                out[frame, child] = out[frame, child] - source[frame, parent]
    if stream.is_motion:
        for frame in range(len(clip) - 1):
            out[frame] = out[frame + 1] - out[frame]
        out[-1] = 0
    return out


@pytest.mark.parametrize("stream", STREAMS)
def test_view_is_the_loops(stream: Stream) -> None:
    clips = signing(2, 7)
    wanted = np.stack([by_loops(clip, stream) for clip in clips])
    np.testing.assert_allclose(view(clips, stream), wanted, rtol=1e-5, atol=2e-3)
    assert view(clips, stream).dtype == np.float32


def test_published_bones_are_alternating_sums() -> None:
    clip = signing(1, 3)[0]
    bones = view(clip, Stream.BONE)
    j = clip.transpose(1, 0, 2)
    for joint, wanted in ((0, j[0]), (3, j[3] - j[1] + j[0]), (5, j[5] - j[3] + j[1] - j[0]), (10, j[10] - j[9] + j[7])):
        np.testing.assert_allclose(bones[:, joint], wanted, atol=1e-3)


@pytest.mark.parametrize(("num_frames", "window"), [(150, 120), (7, 12), (12, 12), (1, 4)])
def test_evaluation_frames(num_frames: int, window: int) -> None:
    assert evaluation_frames(num_frames, window).tolist() == [int(i * num_frames / window) for i in range(window)]


@pytest.mark.parametrize(("num_frames", "window", "most"), [(150, 120, 1), (7, 12, 2), (5, 12, 3)])
def test_training_frames_are_drawn_without_replacement(num_frames: int, window: int, most: int) -> None:
    frames = training_frames(num_frames, window, np.random.default_rng(0))
    again = training_frames(num_frames, window, np.random.default_rng(0))
    assert frames.tolist() == again.tolist() == sorted(frames.tolist())
    assert len(frames) == window
    assert np.bincount(frames).max() <= most
    assert frames.min() >= 0
    assert frames.max() < num_frames
    assert training_frames(9, 9, np.random.default_rng(0)).tolist() == list(range(9))


def test_mirror_centre_and_shift() -> None:
    clips = signing(2, 5)
    twice = mirrored(mirrored(clips, frame_width=512), frame_width=512)
    np.testing.assert_allclose(twice, clips, atol=1e-4)
    once = mirrored(clips, frame_width=512)
    np.testing.assert_allclose(once[:, :, 1, 0], 512 - clips[:, :, 2, 0], atol=1e-4)
    np.testing.assert_allclose(once[:, :, 7, 1:], clips[:, :, 17, 1:])
    assert sorted(MIRRORED) == list(range(27))
    middle = centred(clips)
    np.testing.assert_allclose(middle[:, :, 0, :2].mean(1), 0, atol=1e-3)
    np.testing.assert_allclose(middle[:, :, 4, :2] - middle[:, :, 0, :2], clips[:, :, 4, :2] - clips[:, :, 0, :2], atol=1e-3)
    vectors = centred(clips, is_vector=True)
    np.testing.assert_array_equal(vectors[:, :, 1:], clips[:, :, 1:])
    np.testing.assert_allclose(shifted(clips, np.array([[1, 2], [3, 4]]))[1, :, :, :2], clips[1, :, :, :2] + (3, 4), atol=1e-4)
    np.testing.assert_array_equal(shifted(clips, np.ones((2, 2)))[..., 2], clips[..., 2])


def clip(keypoints: NDArray[np.float32], width: int = 512) -> Clip:
    return Clip(name="clip", keypoints=keypoints, frame_size=(width, 480))


def whole_body(skeletons: NDArray[np.float32]) -> NDArray[np.float32]:
    out = np.zeros((len(skeletons), 133, 3), dtype=np.float32)
    out[:, WHOLE_BODY] = skeletons
    return out


@pytest.mark.parametrize("stream", STREAMS)
def test_batches(stream: Stream) -> None:
    inputs = SkeletonInputs(stream=stream, window=10)
    clips = [clip(keypoints) for keypoints in signing(3, 150)]
    batch = inputs.evaluation_batch(clips)
    wanted = centred(view(clips[1].keypoints, stream)[inputs.evaluation_frames(150)])
    np.testing.assert_allclose(batch.keypoints[1], wanted, atol=1e-4)
    assert batch.lengths.tolist() == [10, 10, 10]
    lengths = [inputs.training_length(150, np.random.default_rng(0))] * 3
    first, second, third = (inputs.training_batch(clips, lengths, np.random.default_rng(seed)).keypoints for seed in (1, 1, 2))
    assert first.shape == (3, 10, 27, 3)
    assert first.equal(second)
    assert not first.equal(third)
    with pytest.raises(ValueError, match="window's 10"):
        inputs.training_batch(clips, [9, 10, 10], np.random.default_rng(0))


def test_training_without_draws_is_evaluation_at_the_window() -> None:
    inputs = SkeletonInputs(window=20, source_frames=None, mirror_probability=0, shift=0)
    clips = [clip(keypoints) for keypoints in signing(2, 20)]
    training = inputs.training_batch(clips, [20, 20], np.random.default_rng(0))
    assert training.keypoints.equal(inputs.evaluation_batch(clips).keypoints)


def test_whole_bodies_are_taken_as_skeletons_of_512_pixels() -> None:
    skeletons, inputs = signing(1, 40)[0], SkeletonInputs(window=12)
    halved = whole_body(skeletons * np.array([0.5, 0.5, 1], dtype=np.float32))
    ours, theirs = inputs.evaluation_batch([clip(halved, 256)]), inputs.evaluation_batch([clip(skeletons)])
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-3)
    frames = inputs.evaluation_frames(40)
    assert frames.tolist() == [int(i * 150 / 12) % 40 for i in range(12)]
    np.testing.assert_allclose(theirs.keypoints[0], centred(skeletons[frames]), atol=1e-4)


@pytest.mark.parametrize(
    ("keypoints", "message"),
    [
        (np.zeros((9, 25, 3), np.float32), r"\(9, 25, 3\) found, \(frames, 27, 3\) or \(frames, 133, 3\) expected"),
        (np.full((9, 27, 3), np.inf, np.float32), "infinite"),
        (np.zeros((2, 133, 3), np.float32), "too short: 2 frames"),
    ],
)
def test_refuses_clips_in_one_line(keypoints: NDArray[np.float32], message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        SkeletonInputs().evaluation_batch([clip(keypoints)])
