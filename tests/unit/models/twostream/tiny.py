"""TwoStream networks of a sixteenth of the published width, and inputs for them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.mska.config import HeadOptions
from models.s3d.config import S3dOptions
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream

NUM_CLASSES = 9
KEYPOINTS = 5
HEAD = HeadOptions(hidden_size=16, ff_size=24, dropout=0.0)
RGB = S3dOptions(width=1 / 16)
KEYPOINT = S3dOptions(in_channels=KEYPOINTS, frozen_blocks=0, width=1 / 16)
SINGLE = SingleStreamOptions(trunk=RGB, head=HEAD)
TWO = TwoStreamOptions(rgb=RGB, keypoint=KEYPOINT, head=HEAD)


def _spread(network: nn.Module, seed: int) -> None:
    """Weights that carry the input to the end, and statistics as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if ".conv." in name:
            nn.init.kaiming_normal_(parameter, generator=generator)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


def single(options: SingleStreamOptions = SINGLE, seed: int = 0) -> SingleStream:
    torch.manual_seed(seed)
    network = SingleStream(options, NUM_CLASSES)
    _spread(network, seed)
    return network


def two(options: TwoStreamOptions = TWO, seed: int = 0) -> TwoStream:
    torch.manual_seed(seed)
    network = TwoStream(options, NUM_CLASSES)
    _spread(network, seed)
    return network


def pictures(lengths: list[int], side: int = 32, *, channels: int = 3, seed: int = 0) -> Tensor:
    """Stream inputs (B, C, T, side, side) in [-1, 1]; beyond a clip's length its last frame repeats."""
    torch.manual_seed(seed)
    x = torch.rand(len(lengths), channels, max(lengths), side, side) * 2 - 1
    for clip, length in zip(x, lengths, strict=True):
        clip[:, length:] = clip[:, length - 1 : length]
    return x


def heatmap_clips(lengths: list[int], side: int = 16, seed: int = 1) -> Tensor:
    return pictures(lengths, side, channels=KEYPOINTS, seed=seed)
