"""The options of DSTA-SLR, with the published values as defaults (dsta_slr.md, sections 3 and 4)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from models.options import Options


class BlockShape(NamedTuple):
    """Channels into a block, of its spatial module and out of it, and its temporal stride."""

    in_channels: int
    width: int
    out_channels: int
    stride: int


class DstaOptions(Options):
    """Architecture of DSTA-SLR, one stream; the number of classes comes from the class map, the window from the input."""

    num_keypoints: Literal[27] = 27  # the skeleton's links are part of the architecture
    width: int = Field(64, gt=0, description="channels of the first block; the last of four has eight times as many")
    depth: int = Field(4, gt=0, description="blocks; each after the first doubles the channels and halves the frames")
    num_subsets: int = Field(8, gt=0, description="groups of channels with an attention map each")
    num_edges: int = Field(6, gt=0, description="learned edge features")
    mlp_ratio: int = Field(4, gt=0)
    temporal_kernels: tuple[int, int] = (5, 7)
    time_gate_kernel: int = Field(9, gt=0)
    drop_blocks: int = Field(2, ge=0, description="how many of the last blocks drop joints and frames in training")
    drop_frames: int = Field(41, gt=0, description="frames that are dropped together")
    drop_per_epoch: float = Field(0.001, ge=0, description="training: what the drop modules' rate grows by in each epoch, from 0")
    drop_most: float = Field(0.1, ge=0, lt=1, description="training: where that growth ends")

    @model_validator(mode="after")
    def _consistent(self) -> DstaOptions:
        if self.width % (2 * self.num_subsets):
            raise ValueError(f"width ({self.width}) is no multiple of 2 × num_subsets ({2 * self.num_subsets})")
        if self.drop_blocks > self.depth:
            raise ValueError(f"drop_blocks ({self.drop_blocks}) is above depth ({self.depth})")
        short, long = self.temporal_kernels
        if not (short % 2 and long % 2 and short <= long and self.time_gate_kernel % 2 and self.drop_frames % 2):
            raise ValueError("temporal_kernels (the shorter first), time_gate_kernel and drop_frames must be odd")
        return self

    @property
    def blocks(self) -> tuple[BlockShape, ...]:
        """The published table: 3 → c → c at stride 1, then from width to twice the width at stride 2."""
        shapes = [BlockShape(3, self.width, self.width, 1)]
        while len(shapes) < self.depth:
            channels = shapes[-1].out_channels
            shapes.append(BlockShape(channels, channels, 2 * channels, 2))
        return tuple(shapes)
