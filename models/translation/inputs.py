"""Inputs of gloss-to-text: the glosses of a clip, which the task puts into the batch; nothing of the recording is read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.batch import Batch
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality

ANY_LAYOUT = tuple(range(1024))  # whatever keypoints the shards hold: they aren't read


class GlossInputs(Inputs):
    """Gloss sentences as they are annotated."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return ()

    @property
    def layouts(self) -> tuple[int, ...]:
        return ANY_LAYOUT

    def problem(self, clip: Clip) -> str | None:
        return None if clip.glosses else "no glosses: gloss-to-text translates annotated glosses, and the clip has none"

    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        return num_frames

    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        return self.evaluation_batch(clips)

    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        for clip in clips:
            self.check(clip)
        return Batch(
            names=tuple(clip.name for clip in clips),
            keypoints=torch.zeros(len(clips), 0, 0, 3),
            frame_sizes=torch.tensor([clip.frame_size for clip in clips], dtype=torch.float32),
            lengths=torch.tensor([len(clip.glosses or ()) for clip in clips]),
            rotations=torch.zeros(len(clips)),
        )

    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        return np.arange(num_frames)
