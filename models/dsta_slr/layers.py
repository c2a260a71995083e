"""The building blocks of DSTA-SLR, on sequences laid out as (T, B, J, C).

With channels last a 1×1 convolution is one matrix product, layer norms need no permutation and joints no padding; with time first the
frames that a tap of a temporal convolution reads are consecutive, for all clips at once.
Axes: `T` frames, `B` clips, `J` joints, `C` channels in, `O` channels out, `S` subsets, `c` channels of a subset, `E` edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dsta_slr.config import BlockShape
from models.dsta_slr.functions import joint_mix, temporal_product, training_norm


def has_own_kernels(x: Tensor) -> bool:
    """Whether our CPU kernels compute on `x`; everything else (CUDA, autocast, half precision) takes PyTorch's."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


class Norm(nn.Module):
    """Batch norm of the last axis. `normalised` applies it."""

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, z: Tensor, linear_bias: Tensor | None = None, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
        """See `normalised`."""
        return normalised([self], z, linear_bias, residual, relu=relu)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """What evaluation multiplies by and adds."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return scale, self.bias - self.running_mean * scale

    @torch.no_grad()
    def track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics towards a batch's mean and biased variance of `count` values a channel."""
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype) * (count / max(count - 1, 1)), self.momentum)


def normalised(norms: Sequence[Norm], z: Tensor, linear_bias: Tensor | None = None, residual: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """(..., C) → (..., C): batch norm, plus `residual`, then ReLU if `relu`; `norms` lie side by side along the channels.

    `linear_bias` is the bias of the linear map before, still to be added to `z`; in training it enters the running mean only.
    """
    bias = torch.zeros_like(z[(0,) * (z.dim() - 1)]) if linear_bias is None else linear_bias
    if not norms[0].training:
        scale, shift = (torch.cat(pieces) for pieces in zip(*(norm.scale_and_shift() for norm in norms), strict=True))
        out = torch.addcmul((bias * scale + shift).to(z.dtype), z, scale.to(z.dtype))
        return _finished(out, residual, relu=relu)
    weight, offset = torch.cat([norm.weight for norm in norms]), torch.cat([norm.bias for norm in norms])
    if has_own_kernels(z):
        out, mean, variance = training_norm(z, bias, residual, weight, offset, eps=norms[0].eps, relu=relu)
    else:
        z = z + bias.to(z.dtype)
        flat = z.flatten(0, -2)
        out = F.batch_norm(flat, None, None, weight, offset, training=True, eps=norms[0].eps).view_as(z)
        variance, mean = torch.var_mean(flat.detach().float(), 0, correction=0)
        out = _finished(out, residual, relu=relu)
    sizes = [len(norm.weight) for norm in norms]
    for norm, own_mean, own_variance in zip(norms, mean.split(sizes), variance.split(sizes), strict=True):
        norm.track(own_mean, own_variance, z.numel() // z.shape[-1])
    return out


def _finished(out: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
    out = out if residual is None else out + residual
    return F.relu(out) if relu else out


class Linear(nn.Module):
    """`weight` (O, C) and `bias` (O,), initialised as PyTorch's 1×1 convolution; fused with what follows by its users."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))


class TemporalBranch(nn.Module):
    """Weights of a convolution over frames, (kernel, C, O) as the products of its taps read them, and its batch norm."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(kernel, in_channels, out_channels).normal_(0, math.sqrt(2 / (kernel * out_channels))))  # Kaiming, fan out
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.norm = Norm(out_channels)


class TemporalLayer(nn.Module):
    """Two convolutions over frames, side by side, each with batch norm, computed as one."""

    def __init__(self, in_channels: int, out_channels: int, *, kernels: tuple[int, int], stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.short, self.long = (TemporalBranch(in_channels, out_channels // 2, kernel) for kernel in kernels)

    def forward(self, x_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T/stride, B, J, O)."""
        bias = torch.cat([self.short.bias, self.long.bias])
        return normalised([self.short.norm, self.long.norm], self.product(x_TBJC), bias)

    def product(self, x_TBJC: Tensor) -> Tensor:
        """The convolutions without bias."""
        if has_own_kernels(x_TBJC):
            return temporal_product(x_TBJC, self.short.weight, self.long.weight, self.stride)
        x_BCTJ = x_TBJC.permute(1, 3, 0, 2)
        branches = (self.short.weight, self.long.weight)
        products = [F.conv2d(x_BCTJ, weight.permute(2, 1, 0)[..., None], stride=(self.stride, 1), padding=(len(weight) // 2, 0)) for weight in branches]
        return torch.cat(products, 1).permute(2, 0, 3, 1)


class Shortcut(nn.Module):
    """The residual path of a block that changes width and rate: depth-wise, then 1×1 convolution, then batch norm."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.stride, self.in_channels = stride, in_channels
        self.depthwise_weight = nn.Parameter(torch.empty(out_channels).uniform_(-1, 1))
        self.depthwise_bias = nn.Parameter(torch.empty(out_channels).uniform_(-1, 1))
        self.pointwise = Linear(out_channels, out_channels)
        self.norm = Norm(out_channels)

    def forward(self, x_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T/stride, B, J, O)."""
        # Both maps are linear, and O/C neighbouring outputs of the depth-wise one read the same channel: together they are one (O, C) matrix.
        weight = (self.pointwise.weight * self.depthwise_weight).unflatten(1, (self.in_channels, -1)).sum(2)
        bias = torch.addmv(self.pointwise.bias, self.pointwise.weight, self.depthwise_bias)
        out: Tensor = self.norm(F.linear(x_TBJC[:: self.stride], weight), bias)
        return out


class Gates(nn.Module):
    """Sigmoid gates of joints, frames and channels, one after the other, each of which adds: y·g + y."""

    def __init__(self, channels: int, *, num_joints: int, time_kernel: int) -> None:
        super().__init__()
        self.joints = nn.Conv1d(channels, 1, num_joints, padding=num_joints // 2)  # along the joint index, as published
        self.frames = nn.Conv1d(channels, 1, time_kernel, padding=time_kernel // 2)
        self.squeeze, self.excite = nn.Linear(channels, channels // 2), nn.Linear(channels // 2, channels)
        nn.init.xavier_normal_(self.joints.weight)
        nn.init.kaiming_normal_(self.squeeze.weight)
        for zero in (self.joints.bias, self.frames.weight, self.frames.bias, self.squeeze.bias, self.excite.weight, self.excite.bias):
            assert zero is not None
            nn.init.zeros_(zero)

    def forward(self, y_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T, B, J, C)."""
        # Each gate reads a mean of the gated sequence before; means of gated sequences are gated means, so the sequence itself is scaled once.
        joints_BJ = 1 + torch.sigmoid(self.joints(y_TBJC.mean(0).transpose(1, 2))[:, 0])
        mean_TBC = torch.matmul(joints_BJ[:, None, :], y_TBJC)[:, :, 0] / y_TBJC.shape[2]
        frames_TB = 1 + torch.sigmoid(self.frames(mean_TBC.permute(1, 2, 0))[:, 0].T)
        mean_BC = (mean_TBC * frames_TB[..., None]).mean(0)
        channels_BC = 1 + torch.sigmoid(self.excite(F.relu(self.squeeze(mean_BC))))
        return y_TBJC * (frames_TB[..., None] * joints_BJ)[..., None] * channels_BC[:, None]


class EdgeFeatures(nn.Module):
    """Learned edges that every joint of every frame answers to."""

    def __init__(self, channels: int, num_edges: int) -> None:
        super().__init__()
        self.norm, self.transform = nn.LayerNorm(channels), Linear(channels, channels)
        self.features = nn.Parameter(torch.empty(channels, num_edges))
        self.alpha = nn.Parameter(torch.ones(num_edges))
        nn.init.trunc_normal_(self.features, std=0.02)

    def forward(self, z_TBJC: Tensor) -> Tensor:
        """How strongly each edge is answered, (T, B, J, E), from the transformed sequence."""
        return torch.tanh(z_TBJC @ self.features) * (self.alpha / len(self.features))


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(channels, ratio * channels), nn.Linear(ratio * channels, channels)
        for layer in (self.inner, self.outer):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.outer(F.gelu(self.inner(x)))
        return out


class Widening(nn.Module):
    """The residual of the first block's spatial module: 1×1 convolution and batch norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv, self.norm = Linear(in_channels, out_channels), Norm(out_channels)
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 / out_channels))  # Kaiming, fan out
        nn.init.zeros_(self.conv.bias)

    def forward(self, x_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T, B, J, O)."""
        out: Tensor = self.norm(F.linear(x_TBJC, self.conv.weight), self.conv.bias)
        return out


class SpatialModule(nn.Module):
    """Attention among joints summed over all frames, learned edges, an MLP, and a learned graph per channel (dsta_slr.md, section 3)."""

    def __init__(self, shape: BlockShape, *, num_joints: int, num_subsets: int, num_edges: int, mlp_ratio: int) -> None:
        super().__init__()
        width = shape.width
        self.num_subsets = num_subsets
        self.input = nn.Parameter(torch.empty(shape.in_channels, width).normal_(0, math.sqrt(0.5 / width)))
        self.input_bias = nn.Parameter(torch.full((width,), 1e-6))
        self.input_norm = Norm(width)
        self.edges = EdgeFeatures(width, num_edges)
        self.edge_weight = nn.Parameter(torch.zeros(1))
        self.attention_norm = nn.LayerNorm(width)
        self.query_key = Linear(width, 2 * width)
        self.alpha = nn.Parameter(torch.ones(num_subsets))
        self.mlp_norm, self.mlp = nn.LayerNorm(width), Mlp(width, mlp_ratio)
        self.graph = nn.Parameter(torch.full((num_subsets, width // num_subsets, num_joints, num_joints), 1 / num_joints))
        self.norm = Norm(width)
        nn.init.constant_(self.norm.weight, 1e-6)
        self.shortcut = None if shape.in_channels == width else Widening(shape.in_channels, width)

    def forward(self, x0_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T, B, J, O)."""
        x: Tensor = self.input_norm(x0_TBJC @ self.input, self.input_bias)
        edge, query, key, value = self.projections(x)
        x = self.attended(query, key, value) + x
        mlp: Tensor = self.mlp(self.mlp_norm(x))
        strengths = self.edges(edge) * self.edge_weight
        x = x + mlp + strengths @ self.edges.features.T
        x = joint_mix(x, self.graph.flatten(0, 1)) if has_own_kernels(x) else torch.einsum("tbuc,cuv->tbvc", x, self.graph.flatten(0, 1))
        out: Tensor = self.norm(x, None, x0_TBJC if self.shortcut is None else self.shortcut(x0_TBJC), relu=True)
        return out

    def projections(self, x_TBJC: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Transformed edges' input, queries, keys, and values, each (T, B, J, C)."""
        # Two layer norms of one sequence differ in their affine maps only, which the linear maps behind them take up.
        bare = F.layer_norm(x_TBJC, x_TBJC.shape[-1:])
        layers = ((self.edges.norm, self.edges.transform), (self.attention_norm, self.query_key))
        weight = torch.cat([linear.weight * norm.weight for norm, linear in layers])
        bias = torch.cat([torch.addmv(linear.bias, linear.weight, norm.bias) for norm, linear in layers])
        edge, query, key = F.linear(bare, weight, bias).chunk(3, dim=-1)
        return edge, query, key, torch.addcmul(self.attention_norm.bias, bare, self.attention_norm.weight)

    def attended(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Values (T, B, J, C) mixed among joints by maps tanh(Σ query·key / (c·T))·alpha, one per clip and subset."""
        T, B, J, C = value.shape
        S, c = self.num_subsets, C // self.num_subsets
        query, key, value = (x.view(T, B, J, S, c).permute(1, 3, 2, 0, 4).reshape(B * S, J, T * c) for x in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2)).view(B, S, J, J)
        maps = torch.tanh(scores / (c * T)) * self.alpha[:, None, None]
        mixed = torch.bmm(maps.to(value.dtype).view(B * S, J, J).transpose(1, 2), value)
        return mixed.view(B, S, J, T, c).permute(3, 0, 2, 1, 4).reshape(T, B, J, C)
