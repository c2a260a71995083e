"""From clips of pictures to batches of the VAC family, with its augmentation (cslr_common.md, sections 2 and 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from models.batch import Batch
from models.inputs.clip import Clip
from models.inputs.crops import Crop, central
from models.inputs.inputs import Inputs, Modality
from models.inputs.pictures import cropped
from models.inputs.stacking import LANCZOS, frames_problem, resized_pictures, stacked
from models.inputs.views import View

MULTIPLE = 4  # training lengths are multiples of the temporal stride
LEAST_FRAMES = 5  # two steps, without which MSTFNet's lift pooling has nothing to pool


class FrameInputs(Inputs):
    """How clips become frames of SlowFastSign, MSTFNet and CorrNet; the defaults are the published values."""

    size: int = Field(256, gt=0, description="height and width in pixels that pictures of another size are brought to, by Lanczos as published")
    crop: int = Field(224, gt=0, description="height and width of what the network sees: the centre; in training anywhere")
    top_cut: int = Field(0, ge=0, description="rows cut from the top, before what is left is brought to `size` again (SlowFastSign on CSL-Daily: 40)")
    mirror_probability: float = Field(0.5, ge=0, le=1, description="training: share of clips whose left and right change places")
    rescale: float = Field(0.2, ge=0, lt=1, description="training: a clip's length changes by up to as much of it; 0 leaves the clips as they are")
    least_frames: int = Field(32, gt=0, description="training: shortest length after rescaling")
    most_frames: int = Field(230, gt=0, description="training: longest length after rescaling, before it is rounded up to a multiple of 4")

    @model_validator(mode="after")
    def _consistent(self) -> FrameInputs:
        if self.crop > self.size:
            raise ValueError(f"crop ({self.crop}) is above size ({self.size})")
        if self.top_cut >= self.size:
            raise ValueError(f"top_cut ({self.top_cut}) leaves nothing of size ({self.size})")
        return self

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return ("frames",)

    @property
    def layouts(self) -> tuple[int, ...]:
        """Any: keypoints aren't read."""
        return ()

    def problem(self, clip: Clip) -> str | None:
        return frames_problem(clip, LEAST_FRAMES)

    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        """A random length within ± `rescale` of the clip's own and the bounds, rounded up to a multiple of 4; its own without rescaling."""
        if not self.rescale:
            return num_frames
        low, high = 1 - self.rescale, 1 + self.rescale
        return self._bounded(int(num_frames * (low + (high - low) * generator.random())))

    def shortest_length(self, num_frames: int) -> int:
        return self._bounded(int(num_frames * (1 - self.rescale))) if self.rescale else num_frames

    def _bounded(self, length: int) -> int:
        return math.ceil(min(max(length, self.least_frames), self.most_frames) / MULTIPLE) * MULTIPLE

    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        """Batch of clips resampled in time to `lengths`, with a view of each for `on_device`."""
        views = tuple(self._view(generator) for _ in clips)
        frames = [training_frames(clip.num_frames, length, generator) for clip, length in zip(clips, lengths, strict=True)]
        return replace(self._batch(clips, frames), views=views)

    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        for clip in clips:
            self.check(clip)
        return self._batch(clips, [self.evaluation_frames(clip.num_frames) for clip in clips])

    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        """Indices of all frames."""
        return np.arange(num_frames)

    def on_device(self, batch: Batch) -> Batch:
        """The batch with the crop of its frames that the network sees: each clip's view in training, the centre in evaluation."""
        assert batch.frames is not None
        if batch.views:
            return replace(batch, frames=torch.stack([_seen(clip, view) for clip, view in zip(batch.frames, batch.views, strict=True)]))
        return replace(batch, frames=cropped(batch.frames, central((self.size, self.size), (self.crop, self.crop))))

    def _view(self, generator: np.random.Generator) -> View:
        room = self.size - self.crop + 1
        left, top = int(generator.integers(room)), int(generator.integers(room))
        crop = Crop(top=top, left=left, height=self.crop, width=self.crop)
        return View(crop=crop, mirrored=bool(generator.random() < self.mirror_probability))

    def _batch(self, clips: Sequence[Clip], frames: Sequence[np.ndarray]) -> Batch:
        return Batch(
            names=tuple(clip.name for clip in clips),
            keypoints=torch.empty(len(clips), max(map(len, frames)), 0, 3),
            frames=stacked(clips, frames, (self.size, self.size), self._fitted, always_fit=self.top_cut > 0),
            frame_sizes=torch.tensor([clip.frame_size for clip in clips], dtype=torch.float32),
            lengths=torch.tensor([len(indices) for indices in frames]),
            rotations=torch.zeros(len(clips)),
        )

    def _fitted(self, pictures: np.ndarray) -> np.ndarray:
        pictures = resized_pictures(pictures, (self.size, self.size), LANCZOS)
        return resized_pictures(pictures[:, self.top_cut :], (self.size, self.size), cv2.INTER_LINEAR)


def training_frames(num_frames: int, length: int, generator: np.random.Generator) -> np.ndarray:
    """`length` sorted frame indices: all of them, distinct ones where the clip has more, any where it has fewer."""
    if length == num_frames:
        return np.arange(num_frames)
    if length < num_frames:
        return np.sort(generator.permutation(num_frames)[:length])
    return np.sort(generator.integers(0, num_frames, length))


def _seen(frames_TCHW: Tensor, view: View) -> Tensor:
    seen = cropped(frames_TCHW, view.crop)
    return seen.flip(-1) if view.mirrored else seen
