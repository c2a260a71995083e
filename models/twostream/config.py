"""The options of SingleStream-SLR and TwoStream-SLR, with the published values as defaults (twostream.md, sections 6 to 9)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from models.inputs.heatmaps import PUBLISHED_PARTS, selected_points
from models.mska.config import HeadOptions
from models.options import SentenceNetworkOptions
from models.s3d.config import S3dOptions

StreamName = Literal["rgb", "keypoint"]
RGB_TRUNK = S3dOptions()
KEYPOINT_TRUNK = S3dOptions(in_channels=len(selected_points(PUBLISHED_PARTS)), frozen_blocks=0)
FEATURE_BLOCKS = 4  # the blocks that a recogniser reads
STEP_FRAMES = 4  # frames of a step after them


class SingleStreamOptions(SentenceNetworkOptions):
    """One trunk and its head; `num_classes` comes from the vocabulary, specials and blank included."""

    stream: StreamName = "rgb"
    trunk: S3dOptions = RGB_TRUNK
    head: HeadOptions = HeadOptions()

    @model_validator(mode="after")
    def _consistent(self) -> SingleStreamOptions:
        _check_trunk("trunk", self.trunk, self.stream)
        return self

    def num_steps(self, num_frames: int) -> int:
        return num_frames // STEP_FRAMES


class TwoStreamOptions(SentenceNetworkOptions):
    """Two trunks, what they tell one another, their pyramids and heads."""

    rgb: S3dOptions = RGB_TRUNK
    keypoint: S3dOptions = KEYPOINT_TRUNK
    lateral_blocks: tuple[Literal[1, 2, 3], ...] = Field((1, 2, 3), description="blocks after which the streams exchange features")
    keypoint_to_rgb: bool = True
    rgb_to_keypoint: bool = True
    rgb_first: bool = Field(False, description="order of the features that the joint head reads; published: keypoints first")
    head: HeadOptions = HeadOptions()

    @model_validator(mode="after")
    def _consistent(self) -> TwoStreamOptions:
        _check_trunk("rgb", self.rgb, "rgb")
        _check_trunk("keypoint", self.keypoint, "keypoint")
        if self.rgb.width != self.keypoint.width:
            raise ValueError(
                f"keypoint.width: {self.keypoint.width}, the other trunk has {self.rgb.width}: streams add their features, so they are equally wide"
            )
        if sorted(set(self.lateral_blocks)) != list(self.lateral_blocks):
            raise ValueError(f"lateral_blocks: {list(self.lateral_blocks)} isn't in rising order, each block once")
        return self

    @property
    def trunks(self) -> dict[str, S3dOptions]:
        """Stream → its trunk."""
        return {"rgb": self.rgb, "keypoint": self.keypoint}

    def num_steps(self, num_frames: int) -> int:
        return num_frames // STEP_FRAMES


def _check_trunk(key: str, trunk: S3dOptions, stream: str) -> None:
    if trunk.num_blocks != FEATURE_BLOCKS:
        raise ValueError(f"{key}.num_blocks: {trunk.num_blocks}, a recogniser reads the features of block {FEATURE_BLOCKS}")
    if stream == "rgb" and trunk.in_channels != 3:
        raise ValueError(f"{key}.in_channels: {trunk.in_channels}, pictures have 3")
