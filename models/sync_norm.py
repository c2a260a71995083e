"""Batch norms that count the clips of all workers, on any device: PyTorch's own SyncBatchNorm refuses a CPU in training.

Sums and counts, then squares, go through a differentiable all-reduce each, so that workers may have unequal numbers of frames.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from models.heads.visual_head import MaskedBatchNorm

_BatchNorm = nn.modules.batchnorm._BatchNorm


class SyncedBatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` over all workers' clips."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C) or (N, C, L) → the same."""
        return synced(self, input) if self.training else super().forward(input)


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` over all workers' clips."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) → the same."""
        return synced(self, input) if self.training else super().forward(input)


class SyncedMaskedBatchNorm(MaskedBatchNorm):
    """`MaskedBatchNorm` over all workers' valid steps."""

    def over_rows(self, x: Tensor) -> Tensor:
        return synced(self, x) if self.training else super().over_rows(x)


SYNCED: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: SyncedBatchNorm1d,
    nn.BatchNorm2d: SyncedBatchNorm2d,
    MaskedBatchNorm: SyncedMaskedBatchNorm,
}


def synchronise(network: nn.Module) -> int:
    """Make every batch norm of `network` count all workers' clips; returns how many. Names and values stay. Raises ValueError for one of another kind."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        if type(norm) not in SYNCED:
            raise ValueError(f"a {type(norm).__name__} can't be synchronised")
        norm.__class__ = SYNCED[type(norm)]
    return len(norms)


def synced(norm: _BatchNorm, x: Tensor) -> Tensor:
    """x (N, C, ...) normalised by mean and variance over all workers' x, and the running statistics moved; every worker must call it."""
    C = x.shape[1]
    axes, shape = [axis for axis in range(x.dim()) if axis != 1], (1, C, *(1,) * (x.dim() - 2))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    sums = _summed(torch.cat([wide.sum(axes), wide.new_tensor([x.numel() / C])]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    # The mean goes first: sums of squares of the values as they are lose what matters where it is large against the deviation.
    centred = wide - mean.view(shape)
    variance = _summed(centred.square().sum(axes)) / total
    _track(norm, mean.detach(), variance.detach() * (total / (total - 1).clamp_min(1)))
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    out = centred * scale.view(shape)
    return (out + norm.bias.view(shape) if norm.affine else out).to(x.dtype)


def _summed(values: Tensor) -> Tensor:
    """The sum over all workers; its gradient too."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return values
    import torch.distributed.nn.functional as differentiable

    summed: Tensor = differentiable.all_reduce(values)
    return summed


@torch.no_grad()
def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    norm.running_var.lerp_(variance.to(norm.running_var.dtype), norm.momentum)
