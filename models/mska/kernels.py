"""Loops over the activations of MSKA's batch norm, each reading and writing them once; float32 or float64, on a CPU.

Arrays are C-contiguous (B, C, N) with N = T·J, sums are float64 (C,). The joints of a frame may end in columns of padding
(`num_joints` real ones of every `width`), which hold zeros and stay zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Function = TypeVar("Function", bound=Callable)


def vectorised(function: Function) -> Function:
    """`function` compiled at its first call, with sums in any order (they are double precision); infinities and NaNs keep their meaning.

    The machine code is cached beside the source or in the user's cache folder, if one can be written.
    """
    options = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no folder for its cache
        return cast(Function, numba.njit(**options)(function))


@vectorised
def channel_sums(z: Floats) -> tuple[Floats, Floats]:
    """Sum and sum of squares of each channel. Squares are exact in double precision, so a large mean costs no accuracy."""
    sums, squares = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    for b in range(z.shape[0]):
        for c in range(z.shape[1]):
            row = z[b, c]
            total, square = 0.0, 0.0
            for i in range(row.size):
                value = np.float64(row[i])
                total += value
                square += value * value
            sums[c] += total
            squares[c] += square
    return sums, squares


@vectorised
def scaled_activation(z: Floats, residual: Floats | None, scale: Floats, shift: Floats, slope: float, num_joints: int, width: int, out: Floats) -> None:
    """out = LeakyReLU(z·scale + shift + residual), per channel; `scale` and `shift` in the precision of `z`."""
    slope_ = z.dtype.type(slope)
    for b in range(z.shape[0]):
        for c in range(z.shape[1]):
            source, target, factor, offset = z[b, c], out[b, c], scale[c], shift[c]
            for i in range(source.size):
                value = source[i] * factor + offset
                if residual is not None:
                    value += residual[b, c, i]
                target[i] = max(value, value * slope_)  # slope ≤ 1
            for start in range(num_joints, source.size, width):
                for i in range(start, start + width - num_joints):
                    target[i] = 0


@vectorised
def activation_gradient(grad: Floats, out: Floats, z: Floats, mean: Floats, slope: float, result: Floats) -> tuple[Floats, Floats]:
    """result = grad through LeakyReLU; its sum and its product with (z − mean), summed, per channel."""
    sums, products = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    one, slope_ = z.dtype.type(1), z.dtype.type(slope)
    for b in range(z.shape[0]):
        for c in range(z.shape[1]):
            upstream, sign, value, target, centre = grad[b, c], out[b, c], z[b, c], result[b, c], mean[c]
            total, product = 0.0, 0.0
            for i in range(value.size):
                g = upstream[i] * (one if sign[i] > 0 else slope_)
                target[i] = g
                total += np.float64(g)
                product += np.float64(g * (value[i] - centre))
            sums[c] += total
            products[c] += product
    return sums, products


@vectorised
def norm_gradient(grad: Floats, z: Floats, scale: Floats, slant: Floats, offset: Floats, num_joints: int, width: int, result: Floats) -> None:
    """result = grad·scale + z·slant + offset, per channel, zero in the columns of padding."""
    for b in range(z.shape[0]):
        for c in range(z.shape[1]):
            upstream, value, target, factor, tilt, shift = grad[b, c], z[b, c], result[b, c], scale[c], slant[c], offset[c]
            for i in range(value.size):
                target[i] = upstream[i] * factor + value[i] * tilt + shift
            for start in range(num_joints, value.size, width):
                for i in range(start, start + width - num_joints):
                    target[i] = 0
