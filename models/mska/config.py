"""The options of MSKA-SLR, with the published values as defaults (mska.md, sections 3 and 4)."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field, PositiveInt, model_validator

from models.options import Options, SentenceNetworkOptions


class BlockShape(NamedTuple):
    """One row of the published table: channels in and out, channels of queries and keys, temporal kernel and stride."""

    in_channels: PositiveInt
    out_channels: PositiveInt
    inner_channels: PositiveInt
    kernel: PositiveInt
    stride: PositiveInt


PUBLISHED_BLOCKS = (
    BlockShape(64, 64, 16, 7, 2),
    BlockShape(64, 64, 16, 3, 1),
    BlockShape(64, 128, 32, 3, 1),
    BlockShape(128, 128, 32, 3, 1),
    BlockShape(128, 256, 64, 3, 2),
    BlockShape(256, 256, 64, 3, 1),
    BlockShape(256, 256, 64, 3, 1),
    BlockShape(256, 256, 64, 3, 1),
)

# COCO-WholeBody indices of each stream. The order matters: learned attention maps are indexed by it.
LEFT = (0, 1, 3, 5, 7, 9, *range(91, 112))
RIGHT = (0, 2, 4, 6, 8, 10, *range(112, 133))
FACE = (23, 26, 29, 33, 36, 39, 41, 43, 46, 48, 53, 56, 59, 62, 65, 68, 71, 72, 73, 74, 75, 76, 77, 79, 80, 81)
BODY = (*LEFT, 2, 4, 6, 8, 10, *range(112, 133), *FACE)


class HeadOptions(Options):
    """A visual head: widths of its hidden layer and its feed-forward convolutions."""

    hidden_size: int = Field(512, gt=0)
    ff_size: int = Field(2048, gt=0)
    ff_kernels: tuple[int, int] = (3, 3)
    position: bool = True
    dropout: float = Field(0.1, ge=0, lt=1)


class MskaOptions(SentenceNetworkOptions):
    """Architecture of MSKA-SLR; `num_classes` comes from the vocabulary, specials and blank included."""

    num_keypoints: int = Field(133, gt=0)
    blocks: tuple[BlockShape, ...] = PUBLISHED_BLOCKS
    num_subsets: int = Field(6, gt=0)
    max_frames: int = Field(400, gt=0, description="length of the published position tables; longer clips are cut")
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    left: tuple[int, ...] = LEFT
    right: tuple[int, ...] = RIGHT
    face: tuple[int, ...] = FACE
    body: tuple[int, ...] = BODY
    head: HeadOptions = HeadOptions()

    @model_validator(mode="after")
    def _consistent(self) -> MskaOptions:
        for before, after in zip(self.blocks, self.blocks[1:], strict=False):
            if before.out_channels != after.in_channels:
                raise ValueError(f"blocks: a block of {before.out_channels} output channels is followed by one of {after.in_channels} input channels")
        if not self.blocks:
            raise ValueError("blocks: at least one is needed")
        even = [block.kernel for block in self.blocks if block.kernel % 2 == 0]
        if even:
            raise ValueError(f"blocks: kernel {even[0]} is even; an odd one keeps a clip's length")
        for stream, points in self.streams.items():
            outside = [point for point in points if not 0 <= point < self.num_keypoints]
            if outside or not points:
                raise ValueError(f"{stream}: " + (f"keypoint {outside[0]} is outside the {self.num_keypoints} keypoints" if outside else "no keypoint"))
        return self

    @property
    def streams(self) -> dict[str, tuple[int, ...]]:
        """Stream → indices of its keypoints, in the order of the published backbone."""
        return {"left": self.left, "right": self.right, "face": self.face, "body": self.body}

    @property
    def temporal_stride(self) -> int:
        """Input frames per output step (4 as published)."""
        stride = 1
        for block in self.blocks:
            stride *= block.stride
        return stride

    def num_steps(self, num_frames: int) -> int:
        return num_frames // self.temporal_stride

    @property
    def head_inputs(self) -> dict[str, int]:
        """Head → width of its input: concatenated stream features (section 3, Output)."""
        width = self.blocks[-1].out_channels
        return {"fuse": 4 * width, "left": 2 * width, "right": 2 * width, "body": width}
