"""From clips of keypoints to batches: frame selection, padding, normalisation, augmentation (mska.md, section 2).

The same functions serve training and service; service uses their evaluation form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.batch import Batch
from models.inputs.checks import frame_size_problem, keypoint_problem
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs

MULTIPLE = 4  # clip lengths are multiples of the temporal stride


class KeypointInputs(Inputs):
    """How clips of keypoints become batches; the defaults are MSKA's published values."""

    max_frames: int = Field(400, ge=MULTIPLE, description="longest clip after frame selection")
    num_keypoints: int = Field(133, gt=0)
    shortest: float = Field(0.5, gt=0, description="training: shortest resampled length, as a share of the clip's own")
    longest: float = Field(1.5, gt=0, description="training: longest resampled length")
    rotation_degrees: float = Field(15.0, ge=0, le=180, description="training: rotations are drawn from ± this")
    rotation_share: float = Field(0.5, ge=0, le=1, description="training: share of batches (or clips) that are rotated")
    rotate_each_clip: bool = Field(False, description="draw a rotation per clip; published: one per batch")

    @model_validator(mode="after")
    def _consistent(self) -> KeypointInputs:
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) is above longest ({self.longest})")
        return self

    @property
    def layouts(self) -> tuple[int, ...]:
        return (self.num_keypoints,)

    def problem(self, clip: Clip) -> str | None:
        return frame_size_problem(clip.frame_size) or keypoint_problem(clip.keypoints, self.num_keypoints)

    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        """A random length between `shortest` and `longest` of the clip's own, at most max_frames, rounded up to a multiple of 4."""
        low = self._low(num_frames)
        high = min(self.max_frames, int(self.longest * num_frames))
        length = int(generator.integers(low, high + 1))
        return self._rounded(length)

    def shortest_length(self, num_frames: int) -> int:
        return self._rounded(self._low(num_frames))

    def _low(self, num_frames: int) -> int:
        return min(int(self.shortest * num_frames), self.max_frames)

    def _rounded(self, length: int) -> int:
        return min(-(-max(length, 1) // MULTIPLE) * MULTIPLE, self.max_frames // MULTIPLE * MULTIPLE)

    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        """Batch of clips resampled in time to `lengths` and rotated."""
        frames = [training_frames(len(clip.keypoints), length, generator) for clip, length in zip(clips, lengths, strict=True)]
        return _assemble(clips, frames, _rotations(len(clips), self, generator))

    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        for clip in clips:
            self.check(clip)
        return _assemble(clips, [self.evaluation_frames(len(clip.keypoints)) for clip in clips], np.zeros(len(clips)))

    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        """Indices of all frames, or of the central `max_frames`; cut at the end to a multiple of 4."""
        length = min(num_frames, self.max_frames)
        start = (num_frames - length) // 2
        return np.arange(start, start + length // MULTIPLE * MULTIPLE)


def training_frames(num_frames: int, length: int, generator: np.random.Generator) -> np.ndarray:
    """`length` sorted frame indices: distinct ones where the clip has enough, else all of them and repeats."""
    if length <= num_frames:
        return np.sort(generator.permutation(num_frames)[:length])
    repeats = generator.integers(0, num_frames, length - num_frames)
    return np.sort(np.concatenate([np.arange(num_frames), repeats]))


def _rotations(count: int, options: KeypointInputs, generator: np.random.Generator) -> np.ndarray:
    draws = count if options.rotate_each_clip else 1
    limit = math.radians(options.rotation_degrees)
    angles = generator.uniform(-limit, limit, draws)
    applied = generator.uniform(0, 1, draws) >= 1 - options.rotation_share
    return np.broadcast_to(np.where(applied, angles, 0.0), (count,))


def _assemble(clips: Sequence[Clip], frames: Sequence[np.ndarray], rotations: np.ndarray) -> Batch:
    longest = max(len(indices) for indices in frames)
    keypoints = np.empty((len(clips), longest, *clips[0].keypoints.shape[1:]), dtype=np.float32)
    for row, clip, indices in zip(keypoints, clips, frames, strict=True):
        np.take(clip.keypoints, indices, axis=0, out=row[: len(indices)], mode="clip")
        row[len(indices) :] = row[len(indices) - 1]
    return Batch(
        names=tuple(clip.name for clip in clips),
        keypoints=torch.from_numpy(keypoints),
        frame_sizes=torch.tensor([clip.frame_size for clip in clips], dtype=torch.float32),
        lengths=torch.tensor([len(indices) for indices in frames]),
        rotations=torch.tensor(rotations, dtype=torch.float32),
    )


def normalised(batch: Batch) -> Tensor:
    """Keypoints (B, T, K, 3) with the frame spanning [−1, 1], y upward, rotated by the batch's angles; confidence untouched."""
    width, height = batch.frame_sizes[:, 0, None, None], batch.frame_sizes[:, 1, None, None]
    x = (batch.keypoints[..., 0] / width - 0.5) / 0.5
    y = ((height - batch.keypoints[..., 1]) / height - 0.5) / 0.5
    # The published rotation acts on normalised coordinates: about the frame's centre, not rigid where the frame isn't square.
    if bool((batch.rotations != 0).any()):
        cos, sin = torch.cos(batch.rotations)[:, None, None], torch.sin(batch.rotations)[:, None, None]
        x, y = x * cos + y * sin, y * cos - x * sin
    return torch.stack([x, y, batch.keypoints[..., 2]], dim=-1)
