"""Differentiable steps of DSTA-SLR's blocks whose backward pass is written out, for speed and memory; each passes gradcheck.

Activations are (T, B, J, C). Axes: `T` frames, `B` clips, `J` joints, `C` channels in, `O` channels out, `N` products, `P` phases of a stride.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.dsta_slr import kernels
from models.dsta_slr.transforms import Transforms, num_products, transforms


class TapProduct(torch.autograd.Function):
    """Convolution over frames (T, B, J, C) → (T/stride, B, J, O) with weight (kernel, C, O), zero padding kernel // 2, odd kernel.

    A tap is one matrix product over all frames and clips, added in place. The first `num_inner` output channels have a kernel that is
    shorter by `margin` taps at both ends: there their weight is zero, and left out.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, margin: int, num_inner: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.shape = len(weight), stride, margin, num_inner
        out = x.new_zeros((len(x) - 1) // stride + 1, *x.shape[1:3], weight.shape[2])
        phases = _phases(x, stride)
        for tap, phase, source, target, columns in _taps(len(x), *ctx.shape):
            _rows(out[target])[:, columns].addmm_(_rows(phases[phase][source]), weight[tap, :, columns])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        phases = _phases(x, ctx.shape[1])
        grad_phases = [torch.zeros_like(phase) for phase in phases]
        grad_weight = torch.zeros_like(weight)  # a tap beyond a short clip reads nothing
        for tap, phase, source, target, columns in _taps(len(x), *ctx.shape):
            upstream = _rows(grad[target])[:, columns]
            _rows(grad_phases[phase][source]).addmm_(upstream, weight[tap, :, columns].T)
            grad_weight[tap, :, columns].addmm_(_rows(phases[phase][source]).T, upstream)
        return _interleaved(grad_phases, x), grad_weight, None, None, None


class SpectralProduct(torch.autograd.Function):
    """The convolution of `TapProduct`, without its short channels' saving, by `models.dsta_slr.transforms`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        matrices = _matrices(x, weight, stride)
        products = _sum_of_products(_transformed(matrices.frames, x), _transformed(matrices.taps, weight))
        out = matrices.out @ products.flatten(1)
        return out.view(len(out), *x.shape[1:3], weight.shape[2])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        matrices = _matrices(x, weight, ctx.stride)
        upstream = (matrices.out.T @ grad.reshape(len(grad), -1)).view(matrices.out.shape[1], -1, weight.shape[2])
        spectra = [upstream @ taps.transpose(1, 2) for taps in _transformed(matrices.taps, weight)]
        grad_x = _restored(matrices.frames, spectra).view_as(x)
        spectra = [frames.transpose(1, 2) @ upstream for frames in _transformed(matrices.frames, x)]
        return grad_x, _restored(matrices.taps, spectra).view_as(weight), None


class JointMix(torch.autograd.Function):
    """Each channel's own map over joints: x (T, B, J, C), maps (C, J, J) [from, to] → (T, B, J, C)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, maps: Tensor) -> Tensor:
        ctx.save_for_backward(x, maps)
        return _mixed(x, maps.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, maps = ctx.saved_tensors
        by_channel = _by_channel(grad)
        grad_maps = _by_channel(x) @ by_channel.transpose(1, 2)
        return _mixed_channels(by_channel, maps, grad.shape), grad_maps


class TrainingNorm(torch.autograd.Function):
    """Batch statistics, affine map, residual and ReLU of z (..., C) in two passes forward and two backward.

    Returns the output, and mean and variance (C,) of z plus `linear_bias`: the bias of the linear map before it has no influence on the output
    (the mean absorbs it), so its gradient is exactly zero.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, linear_bias: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, eps: float, relu: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = z.contiguous()
        out = torch.empty_like(z)
        other = None if residual is None else _array(_rows(residual.contiguous()))
        mean, variance = kernels.norm_forward(_array(_rows(z)), other, _array(weight), _array(bias), eps, relu, _array(_rows(out)))
        ctx.save_for_backward(z, out if relu else None, weight)
        ctx.statistics, ctx.options, ctx.has_residual = (mean, variance), (eps, relu), residual is not None
        batch_mean, batch_variance = torch.from_numpy(mean).to(z.dtype) + linear_bias, torch.from_numpy(variance).to(z.dtype)
        ctx.mark_non_differentiable(batch_mean, batch_variance)
        return out, batch_mean, batch_variance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        z, out, weight = ctx.saved_tensors
        grad = grad.contiguous()
        eps, relu = ctx.options
        through = torch.empty_like(z) if relu else grad
        grad_z = torch.empty_like(z) if ctx.has_residual or not relu else through
        mean, variance = ctx.statistics
        upstream, source, signs, into = (_array(_rows(array)) for array in (grad, z, z if out is None else out, through))
        into_z = None if grad_z is through else _array(_rows(grad_z))
        grad_weight, grad_bias = kernels.norm_backward(upstream, source, signs, _array(weight), mean, variance, eps, relu, into, into_z)
        to_weight, to_bias = (torch.from_numpy(value).to(z.dtype) for value in (grad_weight, grad_bias))
        return grad_z, torch.zeros_like(weight), (through if ctx.has_residual else None), to_weight, to_bias, None, None


def temporal_product(x_TBJC: Tensor, short: Tensor, long: Tensor, stride: int) -> Tensor:
    """Two convolutions over frames side by side, weights (kernel, C, O) each, the shorter first: (T, B, J, C) → (T/stride, B, J, 2·O)."""
    margin = (len(long) - len(short)) // 2
    weight = torch.cat([F.pad(short, (0, 0, 0, 0, margin, margin)), long], 2)
    if transforms_pay(x_TBJC, weight, stride):
        spectral: Tensor = SpectralProduct.apply(x_TBJC, weight, stride)
        return spectral
    by_taps: Tensor = TapProduct.apply(x_TBJC, weight, stride, margin, short.shape[2])
    return by_taps


def transforms_pay(x_TBJC: Tensor, weight_KCO: Tensor, stride: int) -> bool:
    """Whether multiplications, with those of the transforms, are fewer than the taps'.

    The weight's transform is bound by memory, as if a product took 100 multiplications an entry, and counts less the more rows share it.
    """
    T, B, J, C = x_TBJC.shape
    kernel, _, O = weight_KCO.shape
    products = num_products(T, kernel, stride)
    num_out = (T - 1) // stride + 1
    by_transforms = products * (C * O + T * C / stride + num_out * O + 100 * C * O / (B * J))
    return by_transforms < 0.9 * num_out * (kernel - 1) * C * O


def joint_mix(x: Tensor, maps: Tensor) -> Tensor:
    """See `JointMix`."""
    result: Tensor = JointMix.apply(x, maps)
    return result


def training_norm(
    z: Tensor, linear_bias: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor, *, eps: float, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """See `TrainingNorm`."""
    out, mean, variance = TrainingNorm.apply(z, linear_bias, residual, weight, bias, eps, relu)
    return out, mean, variance


def _array(tensor: Tensor) -> kernels.Floats:
    array: kernels.Floats = tensor.detach().numpy()
    return array


def _matrices(x: Tensor, weight: Tensor, stride: int) -> Transforms:
    return Transforms(*(matrix.to(x.dtype) for matrix in transforms(len(x), len(weight), stride)))


def _transformed(matrices_PNT: Tensor, x: Tensor) -> Tensor:
    """(T, ..., C) → (P, N, rows, C)."""
    P, N, T = matrices_PNT.shape
    return (matrices_PNT.view(P * N, T) @ x.reshape(T, -1)).view(P, N, -1, x.shape[-1])


def _sum_of_products(frames_PNRC: Tensor, taps_PNCO: Tensor) -> Tensor:
    total = torch.bmm(frames_PNRC[0], taps_PNCO[0])
    for frames, taps in zip(frames_PNRC[1:], taps_PNCO[1:], strict=True):
        total.baddbmm_(frames, taps)
    return total


def _restored(matrices_PNT: Tensor, spectra: list[Tensor]) -> Tensor:
    """The transposed transform, summed over phases: P times (N, rows, C) → (T, rows·C)."""
    total = matrices_PNT[0].T @ spectra[0].flatten(1)
    for matrix, spectrum in zip(matrices_PNT[1:], spectra[1:], strict=True):
        total.addmm_(matrix.T, spectrum.flatten(1))
    return total


def _phases(x: Tensor, stride: int) -> list[Tensor]:
    """Every stride-th frame from each start, so that what a tap reads is consecutive."""
    return [x[start::stride].contiguous() for start in range(stride)]


def _interleaved(phases: list[Tensor], like: Tensor) -> Tensor:
    if len(phases) == 1:
        return phases[0]
    out = torch.empty_like(like)
    for start, phase in enumerate(phases):
        out[start :: len(phases)] = phase
    return out


def _taps(num_frames: int, kernel: int, stride: int, margin: int, num_inner: int) -> Iterator[tuple[int, int, slice, slice, slice]]:
    """For each tap: its number, the phase it reads, which of the phase's frames, which output frames and which output channels they add to."""
    num_out = (num_frames - 1) // stride + 1
    for tap in range(kernel):
        shift, phase = divmod(tap - kernel // 2, stride)
        in_phase = (num_frames - 1 - phase) // stride + 1
        first, last = max(0, -shift), min(num_out, in_phase - shift)
        if first < last:
            inner = margin <= tap < kernel - margin
            yield tap, phase, slice(first + shift, last + shift), slice(first, last), slice(0 if inner else num_inner, None)


def _rows(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1])


def _by_channel(x_TBJC: Tensor) -> Tensor:
    """(C, J, T·B), each channel's matrix in rows that lie C·T·B apart."""
    T, B, J, C = x_TBJC.shape
    return x_TBJC.reshape(T * B, J * C).t().contiguous().view(J, C, T * B).transpose(0, 1)


def _mixed(x_TBJC: Tensor, maps_CJJ: Tensor) -> Tensor:
    return _mixed_channels(_by_channel(x_TBJC), maps_CJJ, x_TBJC.shape)


def _mixed_channels(by_channel: Tensor, maps_CJJ: Tensor, shape: torch.Size) -> Tensor:
    """maps [to, from] applied to (C, J, T·B), laid out as (T, B, J, C) again."""
    C, J, rows = by_channel.shape
    out = by_channel.new_empty(J, C, rows)
    torch.bmm(maps_CJJ, by_channel, out=out.transpose(0, 1))
    return out.view(J * C, rows).t().contiguous().view(shape)
