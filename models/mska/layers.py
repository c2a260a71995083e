"""The building blocks of MSKA's backbone, on sequences laid out as (B·J, C, T).

That layout, joint before channel and time last, is what makes the network fast on a CPU: every 1×1 convolution is one batched matrix
product, the attention of all subsets is one matrix product per clip with (subset, joint) rows, and its result lies in memory exactly as the
next convolution reads it. The published program keeps (B, C, T, J) and pays a permuted copy or a small product for each of these.
Axes: `B` clips, `J` joints, `C` channels in, `O` channels out, `T` frames, `P` subsets, `c` channels of a query.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batch import valid_steps
from models.mska.config import BlockShape
from models.positions import sinusoid

SLOPE = 0.1  # of every LeakyReLU


class PointwiseConv(nn.Module):
    """1×1 convolution (N, C, T) → (N, O, T) as one batched matrix product; `weight` (O, C), initialised as PyTorch's Conv2d."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def product(self, x_NCT: Tensor) -> Tensor:
        """The convolution without its bias."""
        return torch.bmm(self.weight.expand(x_NCT.shape[0], -1, -1), x_NCT)


class TemporalConv(nn.Module):
    """Convolution over time (N, C, T) → (N, O, T/stride), zero padding kernel//2; `weight` (O, C, kernel)."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_channels * kernel)
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))

    def product(self, x_NCT: Tensor) -> Tensor:
        """The convolution without its bias."""
        if x_NCT.is_cuda:
            return F.conv1d(x_NCT, self.weight, stride=self.stride, padding=self.kernel // 2)
        # oneDNN prepares a convolution anew for every clip length; a product over stacked taps needs no preparation.
        padded = F.pad(x_NCT, (self.kernel // 2, self.kernel // 2))
        span = (padded.shape[2] - self.kernel) // self.stride * self.stride + 1
        taps = torch.cat([padded[:, :, tap : tap + span : self.stride] for tap in range(self.kernel)], dim=1)
        weight = self.weight.transpose(1, 2).reshape(self.weight.shape[0], -1)
        return torch.bmm(weight.expand(x_NCT.shape[0], -1, -1), taps)


class _TrainingNorm(torch.autograd.Function):
    """Batch statistics, affine map, residual and LeakyReLU in one step; saves two tensors instead of five.

    The bias of the convolution before it has no influence on the output (the mean absorbs it), so its gradient is exactly zero.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, conv_bias: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        count = z.shape[0] * z.shape[2]
        mean = z.sum((0, 2)) / count
        centred = z - mean[:, None]
        variance = (centred * centred).sum((0, 2)) / count
        inverse = torch.rsqrt(variance + eps)
        out = centred * (weight * inverse)[:, None]
        out += bias[:, None]
        if residual is not None:
            out += residual
        if slope != 1.0:
            F.leaky_relu_(out, slope)
        ctx.save_for_backward(centred, out if slope != 1.0 else None, weight, inverse)
        ctx.slope, ctx.has_residual = slope, residual is not None
        mean = mean + conv_bias
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, out, weight, inverse = ctx.saved_tensors
        if ctx.slope != 1.0:
            grad = torch.ops.aten.leaky_relu_backward(grad, out, ctx.slope, True)
        count = centred.shape[0] * centred.shape[2]
        grad_bias = grad.sum((0, 2))
        grad_weight = (grad * centred).sum((0, 2)) * inverse
        scale = weight * inverse
        grad_z = centred * (-scale * grad_weight * inverse / count)[:, None]
        grad_z -= (scale * grad_bias / count)[:, None]
        grad_z.addcmul_(grad, scale[:, None])
        return grad_z, torch.zeros_like(weight), (grad if ctx.has_residual else None), grad_weight, grad_bias, None, None


class Norm(nn.Module):
    """Batch norm of the channels of (N, C, T), with a residual and LeakyReLU; fused into one step on a CPU in training.

    It takes a convolution's product without bias, and that bias, which in training enters the running mean only.
    """

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

    def forward(self, z_NCT: Tensor, conv_bias: Tensor, residual: Tensor | None = None, *, slope: float = SLOPE) -> Tensor:
        """(N, C, T) → (N, C, T): norm, plus `residual`, then LeakyReLU unless `slope` is 1."""
        if self.training and not z_NCT.is_cuda:
            out, mean, variance = _TrainingNorm.apply(z_NCT, conv_bias, residual, self.weight, self.bias, self.eps, slope)
            self._track(mean, variance, z_NCT.shape[0] * z_NCT.shape[2])
            return out
        if self.training:
            self.num_batches_tracked += 1
            out = F.batch_norm(z_NCT + conv_bias[:, None], self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum, self.eps)
        else:
            scale = self.weight * torch.rsqrt(self.running_var + self.eps)
            shift = (conv_bias - self.running_mean) * scale + self.bias
            out = torch.addcmul(shift[:, None], z_NCT, scale[:, None])
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

    def forward(self, x_NCT: Tensor, frames: Frames) -> Tensor:
        """(B·J, C, T) → (B·J, O, T), without the bias of `out`."""
        N, C, T = x_NCT.shape
        J, P = self.num_joints, self.num_subsets
        maps = self.dropout(self.maps(x_NCT, frames))
        rows = maps.permute(0, 2, 1, 3).reshape(N // J, J * P, J)
        mixed = torch.bmm(rows, x_NCT.reshape(N // J, J, C * T))
        return self.out.product(mixed.view(N, P * C, T))

    def maps(self, x_NCT: Tensor, frames: Frames) -> Tensor:
        """Attention maps (B, P, target joint, source joint): tanh(q·k / (c·T))·alpha + base, without a softmax."""
        N, _, T = x_NCT.shape
        J, P, c = self.num_joints, self.num_subsets, self.inner_channels
        # The code is constant over time, so W(x + code) + b = Wx + (W·code + b): one small addition instead of one over the whole input.
        offset_JQ = F.linear(self.joint_code, self.query_key.weight, self.query_key.bias)
        query_key = self.query_key.product(x_NCT).view(N // J, J, 2, P, c, T) + offset_JQ.view(J, 2, P, c, 1)
        query, key = query_key.permute(2, 0, 3, 1, 4, 5)
        if frames.mask is not None:
            query = query * frames.mask[:, None, None, None, :]
        scores = torch.bmm(key.reshape(-1, J, c * T), query.reshape(-1, J, c * T).transpose(1, 2)).view(-1, P, J, J)
        scale = (1 / c) / frames.counts.to(scores.dtype)
        return torch.tanh(scores * scale[:, None, None, None]) * self.alpha[:, None, None] + self.base.transpose(1, 2)


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

    def own(self, x_NCT: Tensor) -> Tensor:
        """`x_NCT` (B·J, C, T) with zeros beyond each clip's end, which is what "same" padding shows a clip that stands alone."""
        if self.mask is None:
            return x_NCT
        B, T = self.mask.shape
        return (x_NCT.view(B, -1, T) * self.mask[:, None, :]).view_as(x_NCT)


class Shortcut(nn.Module):
    """A residual path that changes width or rate: frames picked by `stride`, 1×1 convolution, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.conv = PointwiseConv(in_channels, out_channels)
        self.norm = Norm(out_channels)

    def forward(self, x_NCT: Tensor) -> Tensor:
        """(N, C, T) → (N, O, T/stride)."""
        x_NCT = x_NCT if self.stride == 1 else x_NCT[:, :, :: self.stride].contiguous()
        return self.norm(self.conv.product(x_NCT), self.conv.bias, slope=1.0)


class Block(nn.Module):
    """Attention among joints, a feed-forward 1×1 convolution and a temporal convolution, each with residual (steps 5–7)."""

    def __init__(self, shape: BlockShape, *, num_subsets: int, num_joints: int, dropout: float) -> None:
        super().__init__()
        C, O, inner, kernel, stride = shape
        self.stride = stride
        self.attention = JointAttention(C, O, inner_channels=inner, num_subsets=num_subsets, num_joints=num_joints, dropout=dropout)
        self.attention_norm = Norm(O)
        self.feedforward = PointwiseConv(O, O)
        self.feedforward_norm = Norm(O)
        self.temporal = TemporalConv(O, O, kernel=kernel, stride=stride)
        self.temporal_norm = Norm(O)
        changes = stride != 1 or C != O
        self.attention_shortcut = Shortcut(C, O) if changes else nn.Identity()
        self.feedforward_shortcut = Shortcut(C, O) if changes else nn.Identity()
        self.temporal_shortcut = Shortcut(O, O, stride=stride) if changes else nn.Identity()

    def forward(self, x_NCT: Tensor, frames: Frames) -> Tensor:
        """(B·J, C, T) → (B·J, O, T/stride)."""
        y = self.attention_norm(self.attention(x_NCT, frames), self.attention.out.bias, self.attention_shortcut(x_NCT))
        # The residual of the second step is the block's input again, not the first step's output: so the published weights were trained.
        y = self.feedforward_norm(self.feedforward.product(y), self.feedforward.bias, self.feedforward_shortcut(x_NCT))
        return self.temporal_norm(self.temporal.product(frames.own(y)), self.temporal.bias, self.temporal_shortcut(y))
