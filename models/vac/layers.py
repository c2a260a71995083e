"""Layers on packed frames (N, C, H, W) in channels-last memory: convolutions over space and over time, batch norm with what follows it.

They are PyTorch's own modules, so that `SyncBatchNorm.convert_sync_batchnorm`, autocast and a GPU find what they know; on a CPU in training the
batch norm, the residual and the ReLU are one loop.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dsta_slr.functions import training_norm
from models.temporal import convolved_over_time
from models.vac.clips import Clips


def spatial_conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Convolution of single frames with "same" padding; published as Conv3d with a first kernel side of 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)


def temporal_conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False) -> nn.Conv2d:
    """Convolution over frames with "same" padding, for `over_time`; published as Conv3d with a kernel of (k, 1, 1)."""
    return nn.Conv2d(in_channels, out_channels, (kernel, 1), stride=(stride, 1), padding=(kernel // 2, 0), groups=groups, bias=bias)


def over_time(conv: nn.Conv2d, x: Tensor, clips: Clips) -> Tensor:
    """`conv`, a `temporal_conv`, along each clip: (N, C, H, W) → (N', O, H, W), zeros before and after a clip."""
    H, W = x.shape[2:]

    def along(x_BTHWC: Tensor) -> Tensor:
        # Channels-last frames are, without a copy, channels-last pictures of T by H·W.
        out_BOTP = convolved_over_time(conv, x_BTHWC.flatten(2, 3).permute(0, 3, 1, 2))
        out_BTHWO: Tensor = out_BOTP.permute(0, 2, 3, 1).unflatten(2, (H, W))
        return out_BTHWO

    out: Tensor = clips.each(along, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return out


class StepConv(nn.Conv1d):
    """`nn.Conv1d` with zero padding, on a CPU as one matrix product: for the few steps of a clip PyTorch's own takes three times as long."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, L) → (B, O, L + 2·padding − kernel + 1)."""
        if not has_own_kernels(input):
            return super().forward(input)
        kernel, margin = self.kernel_size[0], int(self.padding[0])
        windows = F.pad(input, (margin, margin)).unfold(2, kernel, 1).transpose(1, 2).flatten(2)  # (B, steps, C·kernel)
        return F.linear(windows, self.weight.flatten(1), self.bias).transpose(1, 2)


def normed(norm: nn.Module, z: Tensor, residual: Tensor | None = None, *, relu: bool = True) -> Tensor:
    """Batch norm of z (N, C, H, W), plus `residual`, then ReLU if `relu`."""
    if type(norm) is nn.BatchNorm2d and norm.training and has_own_kernels(z):
        return _fused(norm, z, residual, relu=relu)
    out: Tensor = norm(z)
    out = out if residual is None else out + residual
    return F.relu(out, inplace=not torch.is_grad_enabled()) if relu else out


def has_own_kernels(x: Tensor) -> bool:
    """Whether our CPU loops compute on `x`; everything else (CUDA, autocast, half precision) takes PyTorch's."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def _fused(norm: nn.BatchNorm2d, z: Tensor, residual: Tensor | None, *, relu: bool) -> Tensor:
    rows = z.permute(0, 2, 3, 1)
    other = None if residual is None else residual.permute(0, 2, 3, 1)
    out, mean, variance = training_norm(rows, torch.zeros_like(norm.bias), other, norm.weight, norm.bias, eps=norm.eps, relu=relu)
    _track(norm, mean, variance, rows.numel() // len(mean))
    return out.permute(0, 3, 1, 2)


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)


def init_convs(module: nn.Module) -> None:
    """Kaiming-normal weights of every convolution (fan out, ReLU), as the published backbones start."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


def channels_last(x: Tensor) -> Tensor:
    """(N, C, H, W), its memory laid out as (N, H, W, C)."""
    return x.contiguous(memory_format=torch.channels_last)
