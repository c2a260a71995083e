"""Batch norm with residual and LeakyReLU as loops that read and write each activation as rarely as can be; float32 or float64, on a CPU.

Arrays are C-contiguous (B, C, N) with N = T·J; statistics are float64 (C,). Of the `width` joints of a frame the first `num_joints` are real,
the others hold zeros and stay zeros.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.jit import jit

Floats = NDArray[np.floating]
# Sums in any order (they are double precision); infinities and NaNs keep their meaning.
vectorised = partial(jit, fastmath=("reassoc", "contract", "nsz"))


@vectorised
def norm_forward(
    z: Floats, residual: Floats | None, weight: Floats, bias: Floats, eps: float, slope: float, num_joints: int, width: int, out: Floats
) -> tuple[Floats, Floats]:
    """out = LeakyReLU(weight·(z − mean)/√(variance + eps) + bias + residual); returns mean and (biased) variance of the real joints."""
    num_clips, num_channels, size = z.shape
    real = num_clips * (size // width) * num_joints
    mean, variance = np.empty(num_channels), np.empty(num_channels)
    slope_ = z.dtype.type(slope)
    for c in range(num_channels):
        total, square = 0.0, 0.0
        for b in range(num_clips):
            row = z[b, c]
            for i in range(size):
                value = np.float64(row[i])  # its square is exact in double precision: a large mean costs no accuracy
                total += value
                square += value * value
        mean[c] = total / real
        variance[c] = max(square / real - mean[c] * mean[c], 0.0)
        scale = weight[c] / np.sqrt(variance[c] + eps)
        factor, offset = z.dtype.type(scale), z.dtype.type(bias[c] - mean[c] * scale)
        for b in range(num_clips):
            source, target = z[b, c], out[b, c]
            for i in range(size):
                value_ = source[i] * factor + offset
                if residual is not None:
                    value_ += residual[b, c, i]
                target[i] = max(value_, value_ * slope_)  # slope ≤ 1
            clear_padding(target, num_joints, width)
    return mean, variance


@vectorised
def norm_backward(
    grad: Floats,
    z: Floats,
    out: Floats,
    weight: Floats,
    mean: Floats,
    variance: Floats,
    eps: float,
    slope: float,
    num_joints: int,
    width: int,
    grad_residual: Floats,
    grad_z: Floats,
) -> tuple[Floats, Floats]:
    """Gradients of `norm_forward` into `grad_residual` and `grad_z`; returns those of weight and bias."""
    num_clips, num_channels, size = z.shape
    real = num_clips * (size // width) * num_joints
    grad_weight, grad_bias = np.empty(num_channels), np.empty(num_channels)
    one, slope_ = z.dtype.type(1), z.dtype.type(slope)
    for c in range(num_channels):
        centre = z.dtype.type(mean[c])
        total, product = 0.0, 0.0
        for b in range(num_clips):
            upstream, sign, value, through = grad[b, c], out[b, c], z[b, c], grad_residual[b, c]
            for i in range(size):
                through[i] = upstream[i] * (one if sign[i] > 0 else slope_)
                total += np.float64(through[i])
                product += np.float64(through[i] * (value[i] - centre))
        inverse = 1 / np.sqrt(variance[c] + eps)
        grad_bias[c], grad_weight[c] = total, product * inverse
        scale = weight[c] * inverse
        slant = -scale * grad_weight[c] * inverse / real
        factor, tilt, offset = z.dtype.type(scale), z.dtype.type(slant), z.dtype.type(-scale * total / real - slant * mean[c])
        for b in range(num_clips):
            through, value, target = grad_residual[b, c], z[b, c], grad_z[b, c]
            for i in range(size):
                target[i] = through[i] * factor + value[i] * tilt + offset
            clear_padding(target, num_joints, width)
    return grad_weight, grad_bias


@vectorised
def clear_padding(row: Floats, num_joints: int, width: int) -> None:
    """Zeros in the columns of padding of one (T·J) row."""
    for start in range(num_joints, row.size, width):
        for i in range(start, start + width - num_joints):
            row[i] = 0
