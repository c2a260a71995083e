"""Batch norm with residual and ReLU as loops that read and write each activation as rarely as can be; float32 or float64, on a CPU.

Arrays are C-contiguous (R, C), channels last; statistics are float64 (C,).
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
def norm_forward(z: Floats, residual: Floats | None, weight: Floats, bias: Floats, eps: float, relu: bool, out: Floats) -> tuple[Floats, Floats]:
    """out = weight·(z − mean)/√(variance + eps) + bias + residual, then ReLU if `relu`; returns mean and (biased) variance."""
    num_rows, num_channels = z.shape
    total, square = np.zeros(num_channels), np.zeros(num_channels)
    for r in range(num_rows):
        for c in range(num_channels):
            value = np.float64(z[r, c])  # its square is exact in double precision: a large mean costs no accuracy
            total[c] += value
            square[c] += value * value
    mean = total / num_rows
    variance = np.maximum(square / num_rows - mean * mean, 0.0)
    scale = weight / np.sqrt(variance + eps)
    factor, offset = scale.astype(z.dtype), (bias - mean * scale).astype(z.dtype)
    for r in range(num_rows):
        for c in range(num_channels):
            value_ = z[r, c] * factor[c] + offset[c]
            if residual is not None:
                value_ += residual[r, c]
            if relu:
                value_ = max(value_, z.dtype.type(0))
            out[r, c] = value_
    return mean, variance


@vectorised
def norm_backward(
    grad: Floats, z: Floats, out: Floats, weight: Floats, mean: Floats, variance: Floats, eps: float, relu: bool, through: Floats, grad_z: Floats | None
) -> tuple[Floats, Floats]:
    """Gradients of `norm_forward`: behind the ReLU into `through` (unless `relu` is false), of z into `grad_z`; returns those of weight and bias.

    Without `grad_z` that of z ends in `through`, where nobody needs what was behind the ReLU.
    """
    num_rows, num_channels = z.shape
    total, product = np.zeros(num_channels), np.zeros(num_channels)
    centre, zero = mean.astype(z.dtype), z.dtype.type(0)
    for r in range(num_rows):
        for c in range(num_channels):
            upstream = grad[r, c]
            if relu:
                upstream = upstream if out[r, c] > 0 else zero
                through[r, c] = upstream
            total[c] += np.float64(upstream)
            product[c] += np.float64(upstream * (z[r, c] - centre[c]))
    inverse = 1 / np.sqrt(variance + eps)
    scale, grad_weight = weight * inverse, product * inverse
    slant = -scale * grad_weight * inverse / num_rows
    factor, tilt = scale.astype(z.dtype), slant.astype(z.dtype)
    offset = (-scale * total / num_rows - slant * mean).astype(z.dtype)
    for r in range(num_rows):
        for c in range(num_channels):
            upstream = through[r, c] if relu else grad[r, c]
            value = upstream * factor[c] + z[r, c] * tilt[c] + offset[c]
            if grad_z is None:
                through[r, c] = value
            else:
                grad_z[r, c] = value
    return grad_weight, total
