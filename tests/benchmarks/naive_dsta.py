"""DSTA-SLR written straight from its description: (B, C, T, J), a module per convolution, einsum for every product, nothing fused.

It is the baseline of the benchmarks and the oracle of the unit tests, and reads the published state dict as it is. Drop modules are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dsta_slr.config import BlockShape, DstaOptions
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.published import export


class NaiveEdge(nn.Module):
    """Learned edges that every joint of every frame answers to."""

    def __init__(self, channels: int, num_edges: int) -> None:
        super().__init__()
        self.edge_features = nn.Parameter(torch.zeros(channels, num_edges))
        self.alphas = nn.Parameter(torch.ones(1, 1, num_edges, 1))
        self.norm1, self.transform = nn.LayerNorm(channels), nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.transform(self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        strengths = torch.tanh(torch.einsum("bctj,ce->btej", x, self.edge_features)) / x.shape[1] * self.alphas
        return torch.einsum("ce,btej->bctj", self.edge_features, strengths)


class NaiveMlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, ratio * channels), nn.Linear(ratio * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class NaiveSpatial(nn.Module):
    """The spatial module in the published order of operations."""

    def __init__(self, shape: BlockShape, options: DstaOptions) -> None:
        super().__init__()
        c, joints, self.num_subsets = shape.width, options.num_keypoints, options.num_subsets
        self.attention0s = nn.Parameter(torch.zeros(1, self.num_subsets, c // self.num_subsets, joints, joints))
        self.alphas = nn.Parameter(torch.ones(1, self.num_subsets, 1, 1))
        self.Linear_weight = nn.Parameter(torch.zeros(shape.in_channels, c))
        self.Linear_bias = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.edge_weight = nn.Parameter(torch.zeros(1))
        self.down = nn.Sequential(nn.Conv2d(shape.in_channels, c, 1), nn.BatchNorm2d(c)) if shape.in_channels != c else nn.Identity()
        self.bn, self.bn0 = nn.BatchNorm2d(c), nn.BatchNorm2d(c)
        self.in_nets = nn.Conv2d(c, 2 * c, 1)
        self.norm1, self.norm2 = nn.LayerNorm(c), nn.LayerNorm(c)
        self.mlp = NaiveMlp(c, options.mlp_ratio)
        self.Edge_conv = NaiveEdge(c, options.num_edges)

    def forward(self, x0: Tensor) -> Tensor:
        x = self.bn0(torch.einsum("bctj,cd->bdtj", x0, self.Linear_weight) + self.Linear_bias)
        residual, edges = x, self.Edge_conv(x) * self.edge_weight
        x = self.norm1(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        B, C, T, J = x.shape
        query, key = self.in_nets(x).view(B, 2 * self.num_subsets, -1, T, J).chunk(2, dim=1)
        maps = torch.tanh(torch.einsum("bsctu,bsctv->bsuv", query, key) / (query.shape[2] * T)) * self.alphas
        x = torch.einsum("bsctu,bsuv->bsctv", x.reshape(B, self.num_subsets, -1, T, J), maps).reshape(B, C, T, J) + residual
        residual = x
        x = self.mlp(self.norm2(x.permute(0, 2, 3, 1)).flatten(0, 1)).view(B, T, J, C).permute(0, 3, 1, 2)
        x = (residual + x + edges).reshape(B, self.num_subsets, -1, T, J)
        x = torch.einsum("bsctu,scuv->bsctv", x, self.attention0s[0]).reshape(B, C, T, J)
        return F.relu(self.bn(x) + self.down(x0))


class NaiveBranch(nn.Module):
    """One convolution over frames with batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, (kernel, 1), padding=(kernel // 2, 0), stride=(stride, 1))
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class NaiveTemporal(nn.Module):
    """Two branches, concatenated."""

    def __init__(self, in_channels: int, out_channels: int, kernels: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(NaiveBranch(in_channels, out_channels // 2, kernel, stride) for kernel in kernels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class NaivePool(nn.Module):
    """The two convolutions of the residual under their published name `net`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        depthwise = nn.Conv2d(in_channels, out_channels, 1, stride=(stride, 1), groups=in_channels)
        self.net = nn.Sequential(depthwise, nn.Conv2d(out_channels, out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class NaiveResidual(nn.Module):
    """The residual of a block that changes width and rate."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.pool, self.bn = NaivePool(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.pool(x))
        return out


class NaiveBlock(nn.Module):
    """Spatial module, gates, temporal layers, residual."""

    A: Tensor

    def __init__(self, shape: BlockShape, options: DstaOptions) -> None:
        super().__init__()
        c, out, joints, kernels = shape.width, shape.out_channels, options.num_keypoints, options.temporal_kernels
        self.register_buffer("A", torch.zeros(joints, joints))
        self.san = NaiveSpatial(shape, options)
        self.tcn, self.tcn2 = NaiveTemporal(c, out, kernels), NaiveTemporal(out, out, kernels)
        self.tcn3 = NaiveTemporal(out, out, kernels, shape.stride)
        self.conv_ta = nn.Conv1d(c, 1, options.time_gate_kernel, padding=options.time_gate_kernel // 2)
        self.conv_sa = nn.Conv1d(c, 1, joints, padding=joints // 2)
        self.fc1c, self.fc2c = nn.Linear(c, c // 2), nn.Linear(c // 2, c)
        self.residual = NaiveResidual(shape.in_channels, out, shape.stride) if shape.stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.san(x)
        y = y * torch.sigmoid(self.conv_sa(y.mean(2)))[:, :, None] + y
        y = y * torch.sigmoid(self.conv_ta(y.mean(3)))[..., None] + y
        y = y * torch.sigmoid(self.fc2c(F.relu(self.fc1c(y.mean(3).mean(2)))))[..., None, None] + y
        y = self.tcn3(self.tcn2(self.tcn(y)))
        return F.relu(y if self.residual is None else y + self.residual(x))


class NaiveDsta(nn.Module):
    """Skeletons (B, 3, T, J) of one stream → class logits (B, V)."""

    def __init__(self, options: DstaOptions, num_classes: int) -> None:
        super().__init__()
        self.data_bn = nn.BatchNorm1d(3 * options.num_keypoints)
        self.layers = nn.ModuleList(NaiveBlock(shape, options) for shape in options.blocks)
        self.fc = nn.Linear(options.blocks[-1].out_channels, num_classes)

    def forward(self, skeletons_BCTJ: Tensor) -> Tensor:
        B, C, T, J = skeletons_BCTJ.shape
        x = self.data_bn(skeletons_BCTJ.permute(0, 3, 1, 2).reshape(B, J * C, T))
        x = x.view(B, J, C, T).permute(0, 2, 3, 1)
        for block in self.layers:
            x = block(x)
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


def naive_twin(network: DstaSlr) -> NaiveDsta:
    """The naive network with the weights of `network`, through the published state dict, and in its mode and precision."""
    twin = NaiveDsta(network.options, network.num_classes).to(network.classifier.weight.dtype)
    twin.load_state_dict(export(network))
    return twin.train(network.training)
