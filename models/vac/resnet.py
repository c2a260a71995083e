"""ResNet-18 and -34 on single frames, the trunk of CorrNet and MSTFNet (He et al. 2016); names of parameters as in torchvision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import CheckpointError
from models.vac.layers import channels_last, init_convs, normed, spatial_conv

Depth = Literal[18, 34]
BLOCKS: dict[Depth, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def depth_of(name: str) -> Depth:
    """Depth of a published `resnet18` or `resnet34`. Raises ValueError for another name."""
    for depth in BLOCKS:
        if name == f"resnet{depth}":
            return depth
    raise ValueError(f"backbone {name!r}: {', '.join(f'resnet{depth}' for depth in BLOCKS)} are known")


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a residual."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = spatial_conv(in_channels, out_channels, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = spatial_conv(out_channels, out_channels, 3)
        self.bn2 = nn.BatchNorm2d(out_channels)
        changes = stride != 1 or in_channels != out_channels
        self.downsample = nn.Sequential(spatial_conv(in_channels, out_channels, 1, stride=stride), nn.BatchNorm2d(out_channels)) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, O, H/stride, W/stride)."""
        y = normed(self.bn1, self.conv1(x))
        shortcut = x if self.downsample is None else normed(self.downsample[1], self.downsample[0](x), relu=False)
        return normed(self.bn2, self.conv2(y), shortcut)


class Trunk(nn.Module):
    """The stem and four stages, of `width`, 2·, 4· and 8·`width` channels."""

    def __init__(self, depth: Depth, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, count in enumerate(BLOCKS[depth]):
            out_channels = width * 2**stage
            blocks = [BasicBlock(channels if block == 0 else out_channels, out_channels, stride=2 if stage and not block else 1) for block in range(count)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = out_channels
        init_convs(self)

    def stem(self, frames_NCHW: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, width, H/4, W/4)."""
        return F.max_pool2d(normed(self.bn1, self.conv1(channels_last(frames_NCHW))), 3, stride=2, padding=1)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Stage `number` of 1 to 4."""
        out: Tensor = self.get_submodule(f"layer{number}")(x)
        return out


def load_imagenet(trunk: Trunk, state: Mapping[str, Tensor]) -> None:
    """Fill `trunk` with torchvision's ImageNet weights of the same depth. Raises CheckpointError naming what is missing or of another shape."""
    ours = trunk.state_dict()
    wanted = {name for name in ours if name.startswith(("conv1.", "bn1.", "layer"))}
    missing = sorted(name for name in wanted - state.keys() if not name.endswith("num_batches_tracked"))
    wrong = sorted(name for name in wanted & state.keys() if state[name].shape != ours[name].shape)
    beyond = sorted(name for name in state if name.startswith("layer") and name not in wanted)
    for what, names in (("lacks", missing), ("has another shape of", wrong), ("has beyond this depth", beyond)):
        if names:
            raise CheckpointError(f"not the ImageNet weights of this ResNet: {what} {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}")
    trunk.load_state_dict({name: state[name] for name in wanted & state.keys()}, strict=False)
