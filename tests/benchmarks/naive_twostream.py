"""SingleStream-SLR and TwoStream-SLR written straight from their description, on the naive trunk: 3-D modules in plain layout, nothing fused or left out.

They are the baseline of the benchmarks and the oracle of the tests, and read the published state dicts as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.mska.config import HeadOptions
from models.s3d.config import BLOCK_ENDS, S3dOptions
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.network import TwoStream
from models.twostream.published import PREFIX, export_single, export_two_stream
from models.twostream.single_stream import SingleStream
from tests.benchmarks.naive_mska import NaiveHead
from tests.benchmarks.naive_s3d import NaiveS3d, freeze, norm


def head(width: int, num_classes: int, options: HeadOptions) -> NaiveHead:
    return NaiveHead(width, num_classes, options.hidden_size, options.ff_size, options.ff_kernels, options.dropout)


def valid_steps(lengths_B: Tensor, x_BSD: Tensor, num_frames: int) -> Tensor:
    steps = lengths_B * x_BSD.shape[1] // num_frames
    return torch.arange(x_BSD.shape[1])[None] < steps[:, None]


class NaiveBackbone(nn.Module):
    """A trunk under its published name, and its pyramid where it has one."""

    def __init__(self, options: S3dOptions, *, pyramid: bool) -> None:
        super().__init__()
        self.backbone = NaiveS3d(options)
        if pyramid:
            self.pyramid = NaivePyramid(options.block_channels)


class NaiveSingleStream(nn.Module):
    """Stream inputs (B, C, T, H, W) and lengths (B,) → logits (B, S, V), padding counted as signing."""

    def __init__(self, options: SingleStreamOptions, num_classes: int) -> None:
        super().__init__()
        self.names = ("visual_backbone", "visual_head") if options.stream == "rgb" else ("visual_backbone_keypoint", "visual_head_keypoint")
        self.add_module(self.names[0], NaiveBackbone(options.trunk, pyramid=False))
        self.add_module(self.names[1], head(options.trunk.out_channels, num_classes, options.head))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        features = getattr(self, self.names[0]).backbone(x)[-1].mean((3, 4)).transpose(1, 2)
        logits: Tensor = getattr(self, self.names[1])(features, valid_steps(lengths, features, x.shape[2]))
        return logits


class Lateral(nn.Module):
    """A convolution under its published name."""

    def __init__(self, channels: int, *, up: bool) -> None:
        super().__init__()
        shape = {"kernel_size": (7, 3, 3), "stride": (1, 2, 2), "padding": (3, 1, 1), "bias": False}
        self.conv = nn.ConvTranspose3d(channels, channels, output_padding=(0, 1, 1), **shape) if up else nn.Conv3d(channels, channels, **shape)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class NaiveUpsample(nn.Module):
    """Transposed convolutions over space and over time, each with norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        space = {"stride": (1, 2, 2), "padding": (0, 1, 1), "output_padding": (0, 1, 1)}
        time = {"stride": (stride, 1, 1), "padding": (1, 0, 0), "output_padding": (stride - 1, 0, 0)}
        self.conv_trans_s = nn.ConvTranspose3d(in_channels, out_channels, (1, 3, 3), bias=False, **space)
        self.bn_s = norm(out_channels)
        self.conv_trans_t = nn.ConvTranspose3d(out_channels, out_channels, (3, 1, 1), bias=False, **time)
        self.bn_t, self.relu = norm(out_channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn_t(self.conv_trans_t(self.relu(self.bn_s(self.conv_trans_s(x))))))


class NaivePyramid(nn.Module):
    """Top-down sums of the features of blocks 2, 3 and 4."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.upsample_layers = nn.ModuleList([NaiveUpsample(channels[3], channels[2], 2), NaiveUpsample(channels[2], channels[1], 1)])

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        level1 = features[1] + self.upsample_layers[0](features[2])
        level0 = features[0] + self.upsample_layers[1](level1)
        return [level.mean((3, 4)).transpose(1, 2) for level in (level0, level1, features[2])]


class NaiveTrunks(nn.Module):
    """Both trunks in step, with lateral connections after blocks 1 to 3, and both pyramids."""

    def __init__(self, options: TwoStreamOptions) -> None:
        super().__init__()
        self.rgb_stream, self.pose_stream = NaiveBackbone(options.rgb, pyramid=True), NaiveBackbone(options.keypoint, pyramid=True)
        channels = options.rgb.block_channels[:3]
        self.rgb_stream_lateral = nn.ModuleList(Lateral(width, up=True) for width in channels)
        self.pose_stream_lateral = nn.ModuleList(Lateral(width, up=False) for width in channels)

    def forward(self, rgb: Tensor, pose: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        features: tuple[list[Tensor], list[Tensor]] = ([], [])
        layers = zip(self.rgb_stream.backbone.base, self.pose_stream.backbone.base, strict=True)
        for index, (rgb_layer, pose_layer) in enumerate(layers):
            rgb, pose = rgb_layer(rgb), pose_layer(pose)
            if index in BLOCK_ENDS:
                block = BLOCK_ENDS.index(index)
                if block < 3:
                    rgb, pose = rgb + self.rgb_stream_lateral[block](pose), pose + self.pose_stream_lateral[block](rgb)
                features[0].append(rgb)
                features[1].append(pose)
        return self.rgb_stream.pyramid(features[0][1:]), self.pose_stream.pyramid(features[1][1:])


class NaiveTwoStream(nn.Module):
    """Pictures, heatmaps and lengths → logits of all seven heads by our names, padding counted as signing."""

    def __init__(self, options: TwoStreamOptions, num_classes: int) -> None:
        super().__init__()
        self.visual_backbone_twostream = NaiveTrunks(options)
        widths, head_options = options.rgb.block_channels, options.head
        for name in ("visual_head", "visual_head_keypoint"):
            self.add_module(name, head(widths[3], num_classes, head_options))
            self.add_module(f"{name}_remain", nn.ModuleList(head(width, num_classes, head_options) for width in widths[1:3]))
        self.visual_head_fuse = head(2 * widths[3], num_classes, head_options)

    def forward(self, rgb: Tensor, pose: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        levels = dict(zip(("rgb", "keypoint"), self.visual_backbone_twostream(rgb, pose), strict=True))
        inputs = {name: level[2] for name, level in levels.items()}
        inputs["fuse"] = torch.cat([inputs["keypoint"], inputs["rgb"]], dim=2)
        inputs |= {f"{name}_aux_{index}": level[index] for name, level in levels.items() for index in (0, 1)}
        heads = {"rgb": self.visual_head, "keypoint": self.visual_head_keypoint, "fuse": self.visual_head_fuse}
        for name, remain in (("rgb", self.visual_head_remain), ("keypoint", self.visual_head_keypoint_remain)):
            heads |= {f"{name}_aux_{index}": remain[index] for index in (0, 1)}
        return {name: heads[name](x, valid_steps(lengths, x, rgb.shape[2])) for name, x in inputs.items()}


def naive_single(network: SingleStream) -> NaiveSingleStream:
    """The naive network with the weights of `network`, in its mode, precision and freezing."""
    twin = NaiveSingleStream(network.options, network.num_classes).to(next(network.parameters()).dtype)
    _load(twin, export_single(network))
    twin.train(network.training)
    freeze(getattr(twin, twin.names[0]).backbone, network.options.trunk.frozen_layers)
    return twin


def naive_two_stream(network: TwoStream) -> NaiveTwoStream:
    """The naive network with the weights of `network`, in its mode, precision and freezing."""
    twin = NaiveTwoStream(network.options, network.num_classes).to(next(network.parameters()).dtype)
    _load(twin, export_two_stream(network))
    twin.train(network.training)
    trunks = twin.visual_backbone_twostream
    freeze(trunks.rgb_stream.backbone, network.options.rgb.frozen_layers)
    freeze(trunks.pose_stream.backbone, network.options.keypoint.frozen_layers)
    return twin


def _load(twin: nn.Module, state: dict[str, Tensor]) -> None:
    twin.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
