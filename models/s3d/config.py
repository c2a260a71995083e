"""The options of the S3D trunk, with the published values as defaults (twostream.md, section 6)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from models.options import Options

BLOCK_ENDS = (0, 3, 6, 12, 15)  # last layer of each block


class MixedShape(NamedTuple):
    """Channels of a Mixed layer: into it, of branch 0, of branches 1 and 2 (narrow → wide), and of the pooled branch 3."""

    in_channels: int
    alone: int
    narrow1: int
    wide1: int
    narrow2: int
    wide2: int
    pooled: int

    @property
    def widths(self) -> tuple[int, ...]:
        return self[1:]

    @property
    def out_channels(self) -> int:
        return self.alone + self.wide1 + self.wide2 + self.pooled


STEM = (64, 64, 192)
MIXED = (  # 3b, 3c, 4b–4f, 5b, 5c, without the channels into each
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


class S3dOptions(Options):
    """Architecture of the trunk, and which of its blocks stay as they were loaded."""

    in_channels: int = Field(3, gt=0)
    num_blocks: int = Field(4, ge=1, le=5)
    frozen_blocks: int = Field(1, ge=0, le=5, description="the first blocks, whose weights get no gradient")
    frozen_statistics: bool = Field(
        True, description="frozen blocks normalise with their running statistics; off: the published TwoStream-SLR, which updates them"
    )
    norm_momentum: float = Field(
        0.001, gt=0, le=1, description="of the running statistics; published, and too slow for a trunk that starts from random weights and trains briefly"
    )
    last_stride: Literal[1, 2] = Field(2, description="stride over time of the pool before block 5")
    width: float = Field(1.0, gt=0, le=1, description="share of the published channels; below 1 no published weights fit")

    @model_validator(mode="after")
    def _consistent(self) -> S3dOptions:
        if self.frozen_blocks > self.num_blocks:
            raise ValueError(f"frozen_blocks: {self.frozen_blocks} of a trunk of {self.num_blocks} blocks")
        return self

    @property
    def num_layers(self) -> int:
        return BLOCK_ENDS[self.num_blocks - 1] + 1

    @property
    def frozen_layers(self) -> int:
        return BLOCK_ENDS[self.frozen_blocks - 1] + 1 if self.frozen_blocks else 0

    @property
    def stem(self) -> tuple[int, int, int]:
        """Channels out of layers 0, 2 and 3."""
        first, second, third = (self._scaled(channels) for channels in STEM)
        return first, second, third

    @property
    def mixed(self) -> tuple[MixedShape, ...]:
        """The nine Mixed layers."""
        shapes: list[MixedShape] = []
        for widths in MIXED:
            into = shapes[-1].out_channels if shapes else self.stem[-1]
            shapes.append(MixedShape(into, *map(self._scaled, widths)))
        return tuple(shapes)

    @property
    def block_channels(self) -> tuple[int, ...]:
        """Channels out of each of the five blocks."""
        mixed = self.mixed
        return self.stem[0], self.stem[2], mixed[1].out_channels, mixed[6].out_channels, mixed[8].out_channels

    @property
    def out_channels(self) -> int:
        return self.block_channels[self.num_blocks - 1]

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))
