"""Differentiable steps of MSKA's blocks whose backward pass is written out, for speed and memory; each passes gradcheck.

Activations are (B, C, T, J), or that with axes joined. Axes: `B` clips, `C` channels in, `O` channels out, `T` frames, `J` joints, `P` subsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models.mska import kernels


class Scores(torch.autograd.Function):
    """Σ query·key over channels and frames: (N, c·T, J) twice → (N, J, J), [query's joint, key's joint]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor) -> Tensor:
        ctx.save_for_backward(query, key)
        return torch.bmm(query.transpose(1, 2), key)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        query, key = ctx.saved_tensors
        # Both products come out in the layout that the convolution before them reads; autograd's own would be transposed.
        return torch.bmm(key, grad.transpose(1, 2)), torch.bmm(query, grad)


class Mix(torch.autograd.Function):
    """Joints mixed by each subset's map: x (B, C·T, J), maps (B, P, J, J) → (B, P, C·T, J), with no copy of x per subset."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor) -> Tensor:
        ctx.save_for_backward(x, maps)
        mixed = x.new_empty(*maps.shape[:2], *x.shape[1:])
        for source, target, weights in zip(x, mixed, maps, strict=True):
            torch.bmm(source.expand(len(weights), -1, -1), weights, out=target)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, maps = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x, grad_maps = torch.empty_like(x), torch.empty_like(maps)
        for source, upstream, weights, into_x, into_maps in zip(x, grad, maps, grad_x, grad_maps, strict=True):
            torch.bmm(source.T.expand(len(weights), -1, -1), upstream, out=into_maps)
            torch.mm(upstream[0], weights[0].T, out=into_x)  # a clip's sum over subsets stays in the cache
            for mixed, weight in zip(upstream[1:], weights[1:], strict=True):
                into_x.addmm_(mixed, weight.T)
        return grad_x, grad_maps


class TemporalProduct(torch.autograd.Function):
    """Convolution over frames, (B, C, T, J) with weight (O, C, kernel) → (B, O, T/stride, J), zero padding kernel//2, odd kernel.

    A tap is a matrix product of shifted rows, added in place: nothing is padded, stacked or prepared for a clip length.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        B, _, T, J = x.shape
        out = x.new_zeros(B, weight.shape[0], (T - 1) // stride + 1, J)
        phases = _phases(x, stride)
        for tap, phase, source, target in _taps(T, weight.shape[2], stride):
            _frames(out, target).baddbmm_(weight[:, :, tap].expand(B, -1, -1), _frames(phases[phase], source))
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        phases = _phases(x, ctx.stride)
        grad_phases = [torch.zeros_like(phase) for phase in phases]
        grad_weight = torch.zeros_like(weight)  # a tap beyond a short clip reads nothing
        for tap, phase, source, target in _taps(x.shape[2], weight.shape[2], ctx.stride):
            upstream = _frames(grad, target)
            _frames(grad_phases[phase], source).baddbmm_(weight[:, :, tap].T.expand(len(x), -1, -1), upstream)
            grad_weight[:, :, tap] = torch.bmm(upstream, _frames(phases[phase], source).transpose(1, 2)).sum(0)
        return _interleaved(grad_phases, x), grad_weight, None


def scores(query: Tensor, key: Tensor) -> Tensor:
    """See `Scores`."""
    result: Tensor = Scores.apply(query, key)
    return result


def mix(x: Tensor, maps: Tensor) -> Tensor:
    """See `Mix`."""
    result: Tensor = Mix.apply(x, maps)
    return result


def temporal_product(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """See `TemporalProduct`."""
    result: Tensor = TemporalProduct.apply(x, weight, stride)
    return result


def _phases(x_BCTJ: Tensor, stride: int) -> list[Tensor]:
    """Every stride-th frame from each start, so that what a tap reads is consecutive."""
    return [x_BCTJ[:, :, start::stride].contiguous() for start in range(stride)]


def _interleaved(phases: list[Tensor], like: Tensor) -> Tensor:
    if len(phases) == 1:
        return phases[0]
    out = torch.empty_like(like)
    for start, phase in enumerate(phases):
        out[:, :, start :: len(phases)] = phase
    return out


def _taps(num_frames: int, kernel: int, stride: int) -> Iterator[tuple[int, int, slice, slice]]:
    """For each tap: its number, the phase it reads, which of the phase's frames, and which output frames they add to."""
    num_out = (num_frames - 1) // stride + 1
    for tap in range(kernel):
        shift, phase = divmod(tap - kernel // 2, stride)
        in_phase = (num_frames - 1 - phase) // stride + 1
        first, last = max(0, -shift), min(num_out, in_phase - shift)
        if first < last:
            yield tap, phase, slice(first + shift, last + shift), slice(first, last)


def _frames(x_BCTJ: Tensor, frames: slice) -> Tensor:
    """A view (B, C, frames·J)."""
    J = x_BCTJ.shape[3]
    return x_BCTJ.flatten(2)[:, :, frames.start * J : frames.stop * J]


class TrainingNorm(torch.autograd.Function):
    """Batch statistics, affine map, residual and LeakyReLU of z (B, C, T, J) in two passes forward and two backward.

    The first `num_joints` of the J columns count, the others hold zeros and stay so. Returns the output, and mean and variance (C,).
    The bias of the convolution before it has no influence on the output (the mean absorbs it), so its gradient is exactly zero.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, conv_bias: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, slope: float, num_joints: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = z.contiguous()
        out = torch.empty_like(z)
        other = None if residual is None else _rows(residual.contiguous())
        mean, variance = kernels.norm_forward(_rows(z), other, _array(weight), _array(bias), eps, slope, num_joints, z.shape[3], _rows(out))
        ctx.save_for_backward(z, out if slope != 1.0 else None, weight)
        ctx.statistics, ctx.options, ctx.has_residual = (mean, variance), (eps, slope, num_joints), residual is not None
        batch_mean, batch_variance = torch.from_numpy(mean).to(z.dtype) + conv_bias, torch.from_numpy(variance).to(z.dtype)
        ctx.mark_non_differentiable(batch_mean, batch_variance)
        return out, batch_mean, batch_variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        z, out, weight = ctx.saved_tensors
        grad_residual, grad_z = torch.empty_like(z), torch.empty_like(z)
        eps, slope, num_joints = ctx.options
        mean, variance = ctx.statistics
        signs = _rows(z if out is None else out)
        into = _rows(grad_residual), _rows(grad_z)
        grad_weight, grad_bias = kernels.norm_backward(
            _rows(grad.contiguous()), _rows(z), signs, _array(weight), mean, variance, eps, slope, num_joints, z.shape[3], *into
        )
        to_weight, to_bias = (torch.from_numpy(value).to(z.dtype) for value in (grad_weight, grad_bias))
        return grad_z, torch.zeros_like(weight), (grad_residual if ctx.has_residual else None), to_weight, to_bias, None, None, None


def training_norm(
    z: Tensor, conv_bias: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, *, eps: float, slope: float, num_joints: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `TrainingNorm`."""
    out, mean, variance = TrainingNorm.apply(z, conv_bias, residual, weight, bias, eps, slope, num_joints)
    return out, mean, variance


def _rows(x_BCTJ: Tensor) -> kernels.Floats:
    """The memory of a contiguous tensor as an array (B, C, T·J)."""
    array: kernels.Floats = x_BCTJ.detach().flatten(2).numpy()
    return array


def _array(vector: Tensor) -> kernels.Floats:
    array: kernels.Floats = vector.detach().numpy()
    return array
