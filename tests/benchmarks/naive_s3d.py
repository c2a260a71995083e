"""S3D written straight from its description: a module per convolution, norm and pool, in plain layout, nothing fused.

It is the baseline of the benchmarks and the oracle of the tests, and reads the published state dict as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.s3d.config import S3dOptions
from models.s3d.network import S3d
from models.s3d.published import export


def norm(channels: int) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(channels, eps=1e-3, momentum=0.001)


class NaiveBasicConv(nn.Module):
    """Pointwise convolution, norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, 1, bias=False)
        self.bn, self.relu = norm(out_channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class NaiveSepConv(nn.Module):
    """A convolution over space, then one over time, each with norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv_s = nn.Conv3d(in_channels, out_channels, (1, kernel, kernel), stride=(1, stride, stride), padding=(0, pad, pad), bias=False)
        self.bn_s = norm(out_channels)
        self.conv_t = nn.Conv3d(out_channels, out_channels, (kernel, 1, 1), stride=(stride, 1, 1), padding=(pad, 0, 0), bias=False)
        self.bn_t, self.relu = norm(out_channels), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn_t(self.conv_t(self.relu(self.bn_s(self.conv_s(x))))))


class NaiveMixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        alone, narrow1, wide1, narrow2, wide2, pooled = widths
        self.branch0 = nn.Sequential(NaiveBasicConv(in_channels, alone))
        self.branch1 = nn.Sequential(NaiveBasicConv(in_channels, narrow1), NaiveSepConv(narrow1, wide1, 3))
        self.branch2 = nn.Sequential(NaiveBasicConv(in_channels, narrow2), NaiveSepConv(narrow2, wide2, 3))
        self.branch3 = nn.Sequential(nn.MaxPool3d(3, stride=1, padding=1), NaiveBasicConv(in_channels, pooled))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)


class NaiveS3d(nn.Module):
    """(B, C, T, H, W) → the output of every layer."""

    def __init__(self, options: S3dOptions) -> None:
        super().__init__()
        stem, mixed = options.stem, options.mixed
        stride = options.last_stride
        space = {"kernel_size": (1, 3, 3), "stride": (1, 2, 2), "padding": (0, 1, 1)}
        layers: list[nn.Module] = [
            NaiveSepConv(options.in_channels, stem[0], 7, 2),
            nn.MaxPool3d(**space),
            NaiveBasicConv(stem[0], stem[1]),
            NaiveSepConv(stem[1], stem[2], 3),
            nn.MaxPool3d(**space),
            *(NaiveMixed(shape.in_channels, shape.widths) for shape in mixed[:2]),
            nn.MaxPool3d(3, stride=2, padding=1),
            *(NaiveMixed(shape.in_channels, shape.widths) for shape in mixed[2:7]),
            nn.MaxPool3d(2, stride=(stride, 2, 2), padding=(2 - stride, 0, 0)),
            *(NaiveMixed(shape.in_channels, shape.widths) for shape in mixed[7:]),
        ]
        self.base = nn.ModuleList(layers[: options.num_layers])

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.base:
            x = layer(x)
            outputs.append(x)
        return outputs


def freeze(trunk: NaiveS3d, num_layers: int) -> None:
    """The first layers get no gradient and keep their statistics."""
    for layer in trunk.base[:num_layers]:
        layer.eval().requires_grad_(False)


def naive_twin(trunk: S3d) -> NaiveS3d:
    """The naive trunk with the weights of `trunk`, through the published state dict, in its mode, precision and freezing."""
    twin = NaiveS3d(trunk.options).to(next(trunk.parameters()).dtype)
    twin.load_state_dict(export(trunk))
    twin.train(trunk.training)
    freeze(twin, trunk.options.frozen_layers)
    return twin
