"""What input transforms have in common: clips in, batches out, in a training form with random draws and an evaluation form without."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from models.batch import Batch
from models.errors import RecordingError
from models.inputs.clip import Clip
from models.options import Options

Modality = Literal["frames", "keypoints"]


class Inputs(Options):
    """How clips become batches; a system's options are a subclass. The same functions serve training and service."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What a clip must have; the rest isn't read from the shards."""
        return ("keypoints",)

    @property
    @abstractmethod
    def layouts(self) -> tuple[int, ...]:
        """Numbers of keypoints that a clip may have."""

    @abstractmethod
    def problem(self, clip: Clip) -> str | None:
        """Why the network can't take a clip, as `kind: detail` in one line; None where it can."""

    @abstractmethod
    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        """Frames that a clip of `num_frames` has in a training batch, a random draw where the system resamples."""

    def shortest_length(self, num_frames: int) -> int:
        """The least that `training_length` can be."""
        return num_frames

    @abstractmethod
    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        """Augmented batch of clips at `lengths` (from `training_length`), with draws from `generator`; without targets."""

    @abstractmethod
    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        """Batch of clips as they are, without targets. Raises RecordingError for a clip that has a `problem`."""

    @abstractmethod
    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        """Indices of the frames that the network sees of a clip in evaluation."""

    def on_device(self, batch: Batch) -> Batch:
        """What is done to a batch after it has travelled to the network's device, in training and in evaluation: crops, resizing, colours of its frames."""
        return batch

    def check(self, clip: Clip) -> None:
        """Raises RecordingError for a clip that these inputs can't take."""
        problem = self.problem(clip)
        if problem is not None:
            raise RecordingError(f"{clip.name}: {problem}")
