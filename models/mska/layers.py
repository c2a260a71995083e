"""The building blocks of MSKA's backbone, on sequences laid out as (B, C, T, J), as published.

In that layout queries, keys, values and taps are all views of what the step before wrote, and a clip is one long matrix, whatever its
length. Rows of an odd number of joints cost matrix products a third of their speed on a CPU, so there the joints are padded with columns of
zeros to a multiple of four (`padded_joints`); every layer keeps them zero.
Axes: `B` clips, `J` joints, `C` channels in, `O` channels out, `T` frames, `P` subsets, `c` channels of a query.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batch import valid_steps
from models.mska.config import BlockShape
from models.mska.functions import mix, scores, temporal_product, training_norm
from models.positions import sinusoid

SLOPE = 0.1  # of every LeakyReLU


def has_own_kernels(x: Tensor) -> bool:
    """Whether our CPU kernels compute on `x`; everything else (CUDA, autocast, half precision) takes PyTorch's."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def padded_joints(x_BCTJ: Tensor) -> Tensor:
    """`x_BCTJ` with joints padded by zeros to a multiple of four, where our kernels run."""
    return F.pad(x_BCTJ, (0, -x_BCTJ.shape[-1] % 4)) if has_own_kernels(x_BCTJ) else x_BCTJ


class PointwiseConv(nn.Module):
    """1×1 convolution (B, C, T, J) → (B, O, T, J) as a matrix product per clip; `weight` (O, C), initialised as PyTorch's Conv2d."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def product(self, x_BCTJ: Tensor) -> Tensor:
        """The convolution without its bias."""
        return pointwise(x_BCTJ, self.weight)


def pointwise(x_BCTJ: Tensor, weight_OC: Tensor) -> Tensor:
    """1×1 convolution without bias: (B, C, T, J) → (B, O, T, J)."""
    B, _, T, J = x_BCTJ.shape
    return torch.bmm(weight_OC.expand(B, -1, -1), x_BCTJ.flatten(2)).view(B, -1, T, J)


class TemporalConv(nn.Module):
    """Convolution over frames (B, C, T, J) → (B, O, T/stride, J), zero padding kernel//2; `weight` (O, C, kernel), kernel odd."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels * kernel)
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def product(self, x_BCTJ: Tensor) -> Tensor:
        """The convolution without its bias."""
        if has_own_kernels(x_BCTJ):
            return temporal_product(x_BCTJ, self.weight, self.stride)
        return F.conv2d(x_BCTJ, self.weight[..., None], stride=(self.stride, 1), padding=(self.kernel // 2, 0))


class Norm(nn.Module):
    """Batch norm of the channels of (B, C, T, J), with a residual and LeakyReLU; fused on a CPU in training.

    It takes a convolution's product without bias, and that bias, which in training enters the running mean only. The first `num_joints`
    of J are real.
    """

    def __init__(self, channels: int, num_joints: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.num_joints, self.eps, self.momentum = num_joints, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches_tracked: Tensor
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, z_BCTJ: Tensor, conv_bias: Tensor, residual: Tensor | None = None, *, slope: float = SLOPE) -> Tensor:
        """(B, C, T, J) → (B, C, T, J): norm, plus `residual`, then LeakyReLU unless `slope` is 1."""
        if self.training and has_own_kernels(z_BCTJ):
            out, mean, variance = training_norm(z_BCTJ, conv_bias, residual, self.weight, self.bias, eps=self.eps, slope=slope, num_joints=self.num_joints)
            self._track(mean, variance, z_BCTJ.shape[0] * z_BCTJ.shape[2] * self.num_joints)
            return out
        if self.training:
            self.num_batches_tracked += 1
            z_BCTJ = z_BCTJ + conv_bias.to(z_BCTJ.dtype)[:, None, None]
            out = F.batch_norm(z_BCTJ, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)
        else:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            shift = (conv_bias - self.running_mean) * scale + self.bias
            out = torch.addcmul(shift[:, None, None], z_BCTJ, scale[:, None, None])
            out[..., self.num_joints :] = 0
        out = out if residual is None else out + residual
        return out if slope == 1.0 else F.leaky_relu(out, slope)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


class JointAttention(nn.Module):
    """Attention among joints, one map per subset, then the 1×1 convolution over all subsets (mska.md, section 3, steps 1–5)."""

    def __init__(self, in_channels: int, out_channels: int, *, inner_channels: int, num_subsets: int, num_joints: int, dropout: float) -> None:
        super().__init__()
        self.num_subsets, self.inner_channels, self.num_joints = num_subsets, inner_channels, num_joints
        self.query_key = PointwiseConv(in_channels, 2 * num_subsets * inner_channels)
        self.alpha = nn.Parameter(torch.ones(num_subsets))
        self.base = nn.Parameter(torch.full((num_subsets, num_joints, num_joints), 1 / num_joints))
        self.out = PointwiseConv(num_subsets * in_channels, out_channels)
        self.dropout = nn.Dropout(dropout)
        self.joint_code: Tensor
        self.register_buffer("joint_code", sinusoid(num_joints, in_channels), persistent=False)

    def forward(self, x_BCTJ: Tensor, frames: Frames) -> Tensor:
        """(B, C, T, J) → (B, O, T, J), without the bias of `out`."""
        B, C, T, J = x_BCTJ.shape
        maps = self.dropout(self.maps(x_BCTJ, frames))
        mixed = mix(x_BCTJ.view(B, C * T, J), maps.to(x_BCTJ.dtype))
        return self.out.product(mixed.view(B, -1, T, J))

    def maps(self, x_BCTJ: Tensor, frames: Frames) -> Tensor:
        """Attention maps (B, P, source joint, target joint): tanh(q·k / (c·T))·alpha + base, without a softmax; zero at padded joints."""
        B, _, T, J = x_BCTJ.shape
        P, c, padding = self.num_subsets, self.inner_channels, J - self.num_joints
        # The code is constant over time, so W(x + code) + b = Wx + (W·code + b): a small table instead of one more copy of the input.
        offset_JQ = F.linear(self.joint_code, self.query_key.weight, self.query_key.bias)
        offsets = F.pad(offset_JQ.T, (0, padding))[:, None, :].chunk(2)
        weights = self.query_key.weight.chunk(2)
        query, key = (pointwise(x_BCTJ, weight) + offset for weight, offset in zip(weights, offsets, strict=True))
        if frames.mask is not None:
            query = query * frames.mask[:, None, :, None]
        products = scores(query.view(B * P, c * T, J), key.view(B * P, c * T, J)).view(B, P, J, J)
        scale = (1 / c) / frames.counts.to(products.dtype)
        return torch.tanh(products * scale[:, None, None, None]) * self.alpha[:, None, None] + F.pad(self.base, (0, padding, 0, padding))


class Frames:
    """How many frames of a padded batch belong to each clip, in one place as the temporal strides shorten them.

    counts: (B,) frames that attention divides by. mask: (B, T) float, 1 on a clip's own frames; None in the published form, where padding
    counts as signing.
    """

    def __init__(self, lengths_B: Tensor, num_frames: int, *, masked: bool, dtype: torch.dtype = torch.float32) -> None:
        self.lengths, self.num_frames, self.masked, self.dtype = lengths_B, num_frames, masked, dtype
        self.counts = lengths_B if masked else torch.full_like(lengths_B, num_frames)
        self.mask = valid_steps(lengths_B, num_frames).to(dtype) if masked else None

    def strided(self, stride: int) -> Frames:
        """The same clips after a convolution of this stride with "same" padding."""
        if stride == 1:
            return self
        return Frames((self.lengths - 1) // stride + 1, (self.num_frames - 1) // stride + 1, masked=self.masked, dtype=self.dtype)

    def own(self, x_BCTJ: Tensor) -> Tensor:
        """`x_BCTJ` with zeros beyond each clip's end, which is what "same" padding shows a clip that stands alone."""
        return x_BCTJ if self.mask is None else x_BCTJ * self.mask[:, None, :, None]


class Shortcut(nn.Module):
    """A residual path that changes width or rate: frames picked by `stride`, 1×1 convolution, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, num_joints: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv = PointwiseConv(in_channels, out_channels)
        self.norm = Norm(out_channels, num_joints)

    def forward(self, x_BCTJ: Tensor) -> Tensor:
        """(B, C, T, J) → (B, O, T/stride, J)."""
        out: Tensor = self.norm(self.conv.product(x_BCTJ[:, :, :: self.stride]), self.conv.bias, slope=1.0)
        return out


class Block(nn.Module):
    """Attention among joints, a feed-forward 1×1 convolution and a temporal convolution, each with residual (steps 5–7)."""

    def __init__(self, shape: BlockShape, *, num_subsets: int, num_joints: int, dropout: float) -> None:
        super().__init__()
        C, O, inner, kernel, stride = shape
        self.stride = stride
        self.attention = JointAttention(C, O, inner_channels=inner, num_subsets=num_subsets, num_joints=num_joints, dropout=dropout)
        self.attention_norm = Norm(O, num_joints)
        self.feedforward = PointwiseConv(O, O)
        self.feedforward_norm = Norm(O, num_joints)
        self.temporal = TemporalConv(O, O, kernel=kernel, stride=stride)
        self.temporal_norm = Norm(O, num_joints)
        changes = stride != 1 or C != O
        self.attention_shortcut = Shortcut(C, O, num_joints) if changes else nn.Identity()
        self.feedforward_shortcut = Shortcut(C, O, num_joints) if changes else nn.Identity()
        self.temporal_shortcut = Shortcut(O, O, num_joints, stride=stride) if changes else nn.Identity()

    def forward(self, x_BCTJ: Tensor, frames: Frames) -> Tensor:
        """(B, C, T, J) → (B, O, T/stride, J)."""
        y = self.attention_norm(self.attention(x_BCTJ, frames), self.attention.out.bias, self.attention_shortcut(x_BCTJ))
        # The residual of the second step is the block's input again, not the first step's output: so the published weights were trained.
        y = self.feedforward_norm(self.feedforward.product(y), self.feedforward.bias, self.feedforward_shortcut(x_BCTJ))
        out: Tensor = self.temporal_norm(self.temporal.product(frames.own(y)), self.temporal.bias, self.temporal_shortcut(y))
        return out
