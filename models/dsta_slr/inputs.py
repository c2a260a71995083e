"""From clips of keypoints to batches of one stream's skeletons (dsta_slr.md, sections 1 and 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from models.batch import Batch
from models.dsta_slr.skeleton import NUM_JOINTS, NUM_WHOLE_BODY, WHOLE_BODY
from models.dsta_slr.streams import Stream, centred, evaluation_frames, mirrored, shifted, training_frames, view
from models.inputs.checks import frame_size_problem, keypoint_problem
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs

Frames = Callable[[int], NDArray[np.int64]]


class SkeletonInputs(Inputs):
    """How clips become skeletons of one stream; the defaults are the published values.

    Clips have 27 points, or COCO-WholeBody's 133, of which the published 27 are taken; places are scaled to frames of `frame_width`.
    """

    stream: Stream = Field(Stream.JOINT, description="joint, bone, joint_motion, bone_motion; true_bone, true_bone_motion: of parents that stay joints")
    window: int = Field(120, gt=0, description="frames that the network sees (AUTSL: 100)")
    source_frames: int | None = Field(
        150, gt=0, description="longer clips are cut, shorter ones start over until they have as many, as in the released arrays; null leaves them as they are"
    )
    mirror_probability: float = Field(0.5, ge=0, le=1, description="training: share of clips with left and right exchanged")
    frame_width: float = Field(512.0, gt=0, description="pixels; the mirror's axis is its middle")
    shift: float = Field(10.0, ge=0, description="training: a clip is moved by up to as many pixels in x and in y; not on bone streams")
    is_vector: bool = Field(False, description="mirror as vectors, and centre the nose only; published: off for every stream")

    @property
    def layouts(self) -> tuple[int, ...]:
        return (NUM_JOINTS, NUM_WHOLE_BODY)

    def problem(self, clip: Clip) -> str | None:
        shape = clip.keypoints.shape
        if len(shape) != 3 or shape[1] not in self.layouts:
            return f"wrong keypoint shape: {shape} found, (frames, {NUM_JOINTS}, 3) or (frames, {NUM_WHOLE_BODY}, 3) expected"
        return keypoint_problem(clip.keypoints, shape[1]) or frame_size_problem(clip.frame_size)

    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        """The window, whatever the clip's length."""
        return self.window

    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        """Skeletons (B, W, 27, 3) of clips resampled at random, some of them mirrored, all centred, shifted. Raises ValueError for other lengths."""
        if any(length != self.window for length in lengths):
            raise ValueError(f"lengths {list(lengths)}: every clip has the window's {self.window} frames")
        seen = self._windows(clips, lambda num_frames: training_frames(num_frames, self.window, generator))
        chosen = generator.random(len(clips)) < self.mirror_probability
        seen[chosen] = mirrored(seen[chosen], frame_width=self.frame_width, is_vector=self.is_vector)
        seen = centred(seen, is_vector=self.is_vector)
        if not self.stream.is_bone and self.shift:
            seen = shifted(seen, generator.uniform(-self.shift, self.shift, (len(clips), 2)))
        return _batch(clips, seen)

    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        """Skeletons (B, W, 27, 3) of clips resampled evenly and centred."""
        for clip in clips:
            self.check(clip)
        seen = self._windows(clips, lambda num_frames: evaluation_frames(num_frames, self.window))
        return _batch(clips, centred(seen, is_vector=self.is_vector))

    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        source = self.source_frames or num_frames
        return evaluation_frames(source, self.window) % num_frames

    def skeletons(self, clip: Clip) -> NDArray[np.float32]:
        """A clip's (T, 27, 3) as the released arrays hold it."""
        chosen = clip.keypoints
        if chosen.shape[1] == NUM_WHOLE_BODY:
            chosen = chosen[:, WHOLE_BODY]
        if clip.frame_size[0] != self.frame_width:
            # Released skeletons come from frames of 512 pixels: shift, mirror and the first batch norm's statistics count in these.
            chosen = chosen.astype(np.float32)  # a copy
            chosen[..., :2] *= self.frame_width / clip.frame_size[0]
        if self.source_frames in (None, len(chosen)):
            return chosen
        return chosen[np.arange(self.source_frames) % len(chosen)]

    def _windows(self, clips: Sequence[Clip], frames: Frames) -> NDArray[np.float32]:
        """The stream at the window's frames, (B, W, 27, 3). The stream comes before the choice of frames: motion is between neighbours."""
        seen = np.empty((len(clips), self.window, NUM_JOINTS, 3), dtype=np.float32)
        for row, clip in zip(seen, clips, strict=True):
            skeletons = self.skeletons(clip)
            np.take(view(skeletons, self.stream), frames(len(skeletons)), axis=0, out=row)
        return seen


def _batch(clips: Sequence[Clip], seen: NDArray[np.float32]) -> Batch:
    return Batch(
        names=tuple(clip.name for clip in clips),
        keypoints=torch.from_numpy(seen),
        frame_sizes=torch.tensor([clip.frame_size for clip in clips], dtype=torch.float32),
        lengths=torch.full((len(clips),), seen.shape[1]),
        rotations=torch.zeros(len(clips)),
    )
