"""From clips of pictures and keypoints to what SingleStream-SLR and TwoStream-SLR read (twostream.md, sections 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from models.batch import Batch
from models.inputs.checks import frame_size_problem, keypoint_problem
from models.inputs.clip import Clip
from models.inputs.crops import Crop, Size, central, central_on_map, random_crop, whole
from models.inputs.heatmaps import PUBLISHED_PARTS, heatmaps, selected_points
from models.inputs.inputs import Inputs, Modality
from models.inputs.pictures import Jitter, resized, unit_range
from models.inputs.sampling import MULTIPLE, evaluation_frames, rounded_up, training_frames, training_length
from models.inputs.stacking import bicubic_pictures, frames_problem, stacked
from models.inputs.views import View
from models.twostream.config import StreamName

Pair = tuple[int, int]
See = Callable[[Tensor, View | None], Tensor]


class StreamInputs(Inputs):
    """How clips become pictures, heatmaps or both; the defaults are the published values for Phoenix-2014 and Phoenix-2014T."""

    max_frames: int = Field(400, ge=MULTIPLE, description="longest clip after frame selection")
    shortest: float = Field(0.5, gt=0, description="training: shortest resampled length, as a share of the clip's own")
    longest: float = Field(1.5, gt=0, description="training: longest resampled length")
    video_size: Pair = Field((260, 210), description="height and width that pictures of another size are brought to before augmentation (CSL-Daily: 320, 320)")
    side: int = Field(224, gt=0, multiple_of=32, description="height and width of the pictures that the network sees; heatmaps have half of it")
    centre_crop: int | None = Field(None, gt=0, description="evaluation: side of the central crop of the video; null squeezes all of it")
    crop_area: tuple[float, float] = Field((0.7, 1.0), description="training: share of the picture that a random crop takes")
    crop_ratio: tuple[float, float] = Field((0.75, 1.3), description="training: its width over its height")
    jitter_share: float = Field(0.3, ge=0, le=1, description="training: share of batches (or clips) whose colours change")
    augment: bool = Field(True, description="training resamples, crops and colours; off, it sees clips as evaluation does, as published translators do")
    view_each_clip: bool = Field(False, description="draw crop and colours per clip; published: one per batch")
    parts: tuple[str, ...] = Field(PUBLISHED_PARTS, description="parts of the 133 points that have heatmaps")
    map_size: Pair = Field((260, 210), description="height and width of the grid that sigma counts in (CSL-Daily: 170, 170)")
    sigma: float = Field(8.0, gt=0, description="of a point's heatmap, in pixels of the grid")
    num_keypoints: int = Field(133, gt=0)

    @field_validator("parts")
    @classmethod
    def _known(cls, parts: tuple[str, ...]) -> tuple[str, ...]:
        selected_points(parts)
        return parts

    @model_validator(mode="after")
    def _consistent(self) -> StreamInputs:
        if self.shortest > self.longest:
            raise ValueError(f"shortest ({self.shortest}) is above longest ({self.longest})")
        return self

    @property
    def points(self) -> tuple[int, ...]:
        """Which of the keypoints have heatmaps."""
        return selected_points(self.parts)

    @property
    def layouts(self) -> tuple[int, ...]:
        return (self.num_keypoints,) if "keypoints" in self.modalities else ()

    def problem(self, clip: Clip) -> str | None:
        problem = frames_problem(clip, MULTIPLE) if "frames" in self.modalities else None
        if problem is None and "keypoints" in self.modalities:
            problem = frame_size_problem(clip.frame_size) or keypoint_problem(clip.keypoints, self.num_keypoints)
        return problem

    def training_length(self, num_frames: int, generator: np.random.Generator) -> int:
        """A random length between `shortest` and `longest` of the clip's own, at most max_frames, rounded up to a multiple of 4."""
        if not self.augment:
            return len(self.evaluation_frames(num_frames))
        return training_length(num_frames, generator, shortest=self.shortest, longest=self.longest, max_frames=self.max_frames // MULTIPLE * MULTIPLE)

    def shortest_length(self, num_frames: int) -> int:
        if not self.augment:
            return len(self.evaluation_frames(num_frames))
        return rounded_up(min(int(self.shortest * num_frames), self.max_frames // MULTIPLE * MULTIPLE))

    def training_batch(self, clips: Sequence[Clip], lengths: Sequence[int], generator: np.random.Generator) -> Batch:
        """Batch of clips resampled in time to `lengths`, with a view of each for `on_device`, alike for all unless `view_each_clip`."""
        if not self.augment:
            return self.evaluation_batch(clips)
        frames = [training_frames(clip.num_frames, generator, length=length) for clip, length in zip(clips, lengths, strict=True)]
        views = [self._view(generator) for _ in range(len(clips) if self.view_each_clip else 1)]
        return replace(self._batch(clips, frames), views=tuple(views if self.view_each_clip else views * len(clips)))

    def evaluation_batch(self, clips: Sequence[Clip]) -> Batch:
        for clip in clips:
            self.check(clip)
        return self._batch(clips, [self.evaluation_frames(clip.num_frames) for clip in clips])

    def evaluation_frames(self, num_frames: int) -> np.ndarray:
        """Indices of all frames, or of the central `max_frames`; cut at the end to a multiple of 4."""
        return evaluation_frames(num_frames, max_frames=self.max_frames)

    def on_device(self, batch: Batch) -> Batch:
        """Pictures as float (B, T, 3, side, side) in [0, 1], and heatmaps (B, K, T, side/2, side/2), of the same rectangle."""
        frames = self._each_view(batch, batch.frames, self._pictures) if "frames" in self.modalities else None
        maps = self._each_view(batch, self._on_grid(batch), self._heatmaps) if "keypoints" in self.modalities else None
        return replace(batch, frames=frames, heatmaps=maps)

    def _view(self, generator: np.random.Generator) -> View:
        colours = Jitter.drawn(generator) if "frames" in self.modalities and generator.random() < self.jitter_share else None
        return View(crop=random_crop(self._drawn_on, generator, area=self.crop_area, ratio=self.crop_ratio), colours=colours)

    @property
    def _drawn_on(self) -> Size:
        """The picture that random crops are drawn on: of heatmaps alone, as published, their grid."""
        return self.video_size if "frames" in self.modalities else self.map_size

    def _each_view(self, batch: Batch, values: Tensor | None, see: See) -> Tensor:
        """`see` of all clips at once where they have the same view, else of one after the other."""
        assert values is not None
        if len(set(batch.views)) <= 1:
            return see(values, batch.views[0] if batch.views else None)
        return torch.cat([see(clip[None], view) for clip, view in zip(values, batch.views, strict=True)])

    def _pictures(self, frames_BTCHW: Tensor, view: View | None) -> Tensor:
        out = (self.side, self.side)
        if view is None:
            crop = central(self.video_size, (self.centre_crop, self.centre_crop)) if self.centre_crop else None
            return resized(frames_BTCHW, out, crop)
        return resized(view.colours(unit_range(frames_BTCHW)) if view.colours else frames_BTCHW, out, view.crop)

    def _heatmaps(self, points_BTKC: Tensor, view: View | None) -> Tensor:
        half = self.side // 2
        return heatmaps(points_BTKC, self.map_size, sigma=self.sigma, crop=self._map_crop(view), out=(half, half))

    def _map_crop(self, view: View | None) -> Crop:
        if view is not None:
            return view.crop.scaled(self._drawn_on, self.map_size)
        return central_on_map(self.video_size, self.map_size, self.centre_crop) if self.centre_crop else whole(self.map_size)

    def _on_grid(self, batch: Batch) -> Tensor:
        """The chosen points in pixels of the grid, whatever each clip's frame size: (B, T, K, 2)."""
        width, height = batch.frame_sizes[:, None, None].unbind(-1)
        points = batch.keypoints[:, :, list(self.points)]
        return torch.stack([points[..., 0] * (self.map_size[1] / width), points[..., 1] * (self.map_size[0] / height)], dim=-1)

    def _batch(self, clips: Sequence[Clip], frames: Sequence[np.ndarray]) -> Batch:
        reads_keypoints, longest = "keypoints" in self.modalities, max(map(len, frames))
        keypoints = np.empty((len(clips), longest, self.num_keypoints if reads_keypoints else 0, 3), dtype=np.float32)
        if reads_keypoints:
            for row, clip, indices in zip(keypoints, clips, frames, strict=True):
                row[: len(indices)] = clip.keypoints[indices]
                row[len(indices) :] = row[len(indices) - 1]
        return Batch(
            names=tuple(clip.name for clip in clips),
            keypoints=torch.from_numpy(keypoints),
            frames=stacked(clips, frames, self.video_size, self._fitted) if "frames" in self.modalities else None,
            frame_sizes=torch.tensor([clip.frame_size for clip in clips], dtype=torch.float32),
            lengths=torch.tensor([len(indices) for indices in frames]),
            rotations=torch.zeros(len(clips)),
        )

    def _fitted(self, pictures: np.ndarray) -> np.ndarray:
        return bicubic_pictures(pictures, self.video_size)


class SingleStreamInputs(StreamInputs):
    """Pictures for the RGB stream, or heatmaps for the keypoint stream."""

    stream: StreamName = "rgb"

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return ("frames",) if self.stream == "rgb" else ("keypoints",)


class TwoStreamInputs(StreamInputs):
    """Pictures and heatmaps of the same rectangle."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        return ("frames", "keypoints")
