"""Which frames of a clip the TwoStream systems see (twostream.md, section 3)."""

from __future__ import annotations

import numpy as np

MULTIPLE = 4  # clip lengths are multiples of the temporal stride


def evaluation_frames(num_frames: int, *, max_frames: int = 400) -> np.ndarray:
    """Indices of all frames, or of the central `max_frames`; cut at the end to a multiple of 4."""
    length = min(num_frames, max_frames)
    start = (num_frames - length) // 2
    return np.arange(start, start + length // MULTIPLE * MULTIPLE)


def training_frames(
    num_frames: int, generator: np.random.Generator, *, shortest: float = 0.5, longest: float = 1.5, max_frames: int = 400, length: int | None = None
) -> np.ndarray:
    """Sorted frame indices of a random length: distinct frames where the clip has enough, else all of them and repeats.

    shortest, longest: bounds of the length as shares of the clip's; length: what `training_length` drew, so that it isn't drawn here.
    """
    if length is None:
        length = training_length(num_frames, generator, shortest=shortest, longest=longest, max_frames=max_frames)
    if length <= num_frames:
        return np.sort(generator.permutation(num_frames)[:length])
    repeats = generator.integers(0, num_frames, length - num_frames)
    return np.sort(np.concatenate([np.arange(num_frames), repeats]))


def training_length(num_frames: int, generator: np.random.Generator, *, shortest: float = 0.5, longest: float = 1.5, max_frames: int = 400) -> int:
    """A random length between `shortest` and `longest` of the clip's own, at most max_frames, rounded up to a multiple of 4."""
    low = min(int(shortest * num_frames), max_frames)
    high = min(max_frames, int(longest * num_frames))
    return rounded_up(int(generator.integers(low, high + 1)))


def rounded_up(length: int) -> int:
    """The next multiple of 4, at least 4."""
    return -(-max(length, 1) // MULTIPLE) * MULTIPLE
