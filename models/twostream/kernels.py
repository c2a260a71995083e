"""Loops around the products of `phases.py`; float32, features (B, T, H, W, C) with the channels last, dense.

Rows of matrices are ordered by step, clip, row and column of the windows, so that a shift along time is a slice. Columns are the 25 products, each with all
channels: first by the sum that they belong to (a, m, c along height, then along width), then by their place in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inlined, jit

Floats = NDArray[np.float32]

# Of the five products along an axis: where those of the sums a, m, c begin, and which place of the window (o[0], e[0], o[1], e[1], o[2]) they are of.
BEGIN = np.array([0, 2, 3, 5])
PLACE = np.array([0, 1, 2, 4, 3])
BLOCK = 64  # channels at a time, whose window stays in the first cache


@inlined
def _columns() -> NDArray[np.int64]:
    """Column of the product that is the first index's of the five along height, and the second's along width."""
    table = np.empty((5, 5), np.int64)
    for first in range(5):
        i = 0 if first < 2 else 1 if first < 3 else 2
        for second in range(5):
            j = 0 if second < 2 else 1 if second < 3 else 2
            table[first, second] = 5 * BEGIN[i] + (BEGIN[i + 1] - BEGIN[i]) * BEGIN[j] + (first - BEGIN[i]) * (BEGIN[j + 1] - BEGIN[j]) + second - BEGIN[j]
    return table


@jit
def gathered(x: Floats, before: int, out: Floats) -> None:
    """The 25 combinations of each 5×5 window of `x`, the windows four apart; `before` steps of zeros stand before them, as many after."""
    B, T, H, W, C = x.shape
    columns = _columns()
    num_windows = B * (H // 4) * (W // 4)
    out[: before * num_windows] = 0
    out[(before + T) * num_windows :] = 0
    window = np.zeros((5, 5, BLOCK), np.float32)
    for b in range(B):
        for t in range(T):
            for i in range(H // 4):
                for j in range(W // 4):
                    row = ((before + t) * B + b) * (H // 4) * (W // 4) + i * (W // 4) + j
                    for begin in range(0, C, BLOCK):
                        size = min(BLOCK, C - begin)
                        for p in range(5):
                            for q in range(5):
                                h, w = 4 * i + p - 1, 4 * j + q - 1
                                if h < 0 or w < 0:
                                    for c in range(size):
                                        window[p, q, c] = 0
                                else:
                                    source = x[b, t, h, w]
                                    for c in range(size):
                                        window[p, q, c] = source[begin + c]
                        for p in range(5):  # along width: o[0] - o[1] and o[2] - o[1] in the places of o[0] and o[2]
                            for c in range(size):
                                window[p, 0, c] -= window[p, 2, c]
                                window[p, 4, c] -= window[p, 2, c]
                        for q in range(5):
                            for c in range(size):
                                window[0, q, c] -= window[2, q, c]
                                window[4, q, c] -= window[2, q, c]
                        for first in range(5):
                            for second in range(5):
                                target = out[row]
                                offset = columns[first, second] * C + begin
                                p, q = PLACE[first], PLACE[second]
                                for c in range(size):
                                    target[offset + c] = window[p, q, c]


@jit
def scattered(grad: Floats, out: Floats) -> None:
    """What the windows' combinations hand back is added to `out`; the steps before and after are left out."""
    B, T, H, W, C = out.shape
    columns = _columns()
    num_windows = B * (H // 4) * (W // 4)
    before = (len(grad) // num_windows - T) // 2
    window = np.empty((5, 5, BLOCK), np.float32)
    for b in range(B):
        for t in range(T):
            for i in range(H // 4):
                for j in range(W // 4):
                    row = ((before + t) * B + b) * (H // 4) * (W // 4) + i * (W // 4) + j
                    for begin in range(0, C, BLOCK):
                        size = min(BLOCK, C - begin)
                        for first in range(5):
                            for second in range(5):
                                source = grad[row]
                                offset = columns[first, second] * C + begin
                                p, q = PLACE[first], PLACE[second]
                                for c in range(size):
                                    window[p, q, c] = source[offset + c]
                        for q in range(5):
                            for c in range(size):
                                window[2, q, c] -= window[0, q, c] + window[4, q, c]
                        for p in range(5):
                            for c in range(size):
                                window[p, 2, c] -= window[p, 0, c] + window[p, 4, c]
                        for p in range(5):
                            for q in range(5):
                                h, w = 4 * i + p - 1, 4 * j + q - 1
                                if h >= 0 and w >= 0:
                                    target = out[b, t, h, w]
                                    for c in range(size):
                                        target[begin + c] += window[p, q, c]


@jit
def outputs_of(sums: Floats, out: Floats) -> None:
    """The nine sums of each window (9, rows, O) → its 2×2 outputs."""
    B, T, H, W, O = out.shape
    for b in range(B):
        for t in range(T):
            for i in range(H // 2):
                for j in range(W // 2):
                    row = (t * B + b) * (H // 2) * (W // 2) + i * (W // 2) + j
                    for p in range(2):
                        for q in range(2):
                            target = out[b, t, 2 * i + p, 2 * j + q]
                            corner, beside, below, middle = sums[6 * p + 2 * q, row], sums[6 * p + 1, row], sums[3 + 2 * q, row], sums[4, row]
                            for o in range(O):
                                target[o] = (corner[o] + beside[o]) + (below[o] + middle[o])


@jit
def products_of(y: Floats, sums: Floats) -> None:
    """The adjoint of `outputs_of`: each output goes to the four sums that it is made of."""
    B, T, H, W, O = y.shape
    for b in range(B):
        for t in range(T):
            for i in range(H // 2):
                for j in range(W // 2):
                    row = (t * B + b) * (H // 2) * (W // 2) + i * (W // 2) + j
                    upper, lower = y[b, t, 2 * i], y[b, t, 2 * i + 1]
                    for o in range(O):
                        y00, y01, y10, y11 = upper[2 * j, o], upper[2 * j + 1, o], lower[2 * j, o], lower[2 * j + 1, o]
                        sums[0, row, o] = y00
                        sums[1, row, o] = y00 + y01
                        sums[2, row, o] = y01
                        sums[3, row, o] = y00 + y10
                        sums[4, row, o] = (y00 + y01) + (y10 + y11)
                        sums[5, row, o] = y01 + y11
                        sums[6, row, o] = y10
                        sums[7, row, o] = y10 + y11
                        sums[8, row, o] = y11


@jit
def weight_at(weight: Floats, tap: int, out: Floats) -> None:
    """The weight (O, C, taps, 3, 3) at one tap as the factors of the 25 products, (O, 25·C)."""
    O, C = weight.shape[:2]
    columns = _columns()
    rows = np.empty((5, 3), np.float32)
    for o in range(O):
        target = out[o]
        for c in range(C):
            kernel = weight[o, c, tap]
            for k in range(3):
                rows[0, k], rows[1, k], rows[2, k] = kernel[0, k], kernel[1, k], kernel[0, k] + kernel[2, k]
                rows[3, k], rows[4, k] = kernel[2, k], kernel[1, k]
            for first in range(5):
                w0, w1, w2 = rows[first, 0], rows[first, 1], rows[first, 2]
                target[columns[first, 0] * C + c] = w0
                target[columns[first, 1] * C + c] = w1
                target[columns[first, 2] * C + c] = w0 + w2
                target[columns[first, 3] * C + c] = w2
                target[columns[first, 4] * C + c] = w1


@jit
def weight_back(factors: Floats, tap: int, out: Floats) -> None:
    """The adjoint of `weight_at`."""
    O, C = out.shape[:2]
    columns = _columns()
    rows = np.empty((5, 3), np.float32)
    for o in range(O):
        source = factors[o]
        for c in range(C):
            for first in range(5):
                middle = source[columns[first, 2] * C + c]
                rows[first, 0] = source[columns[first, 0] * C + c] + middle
                rows[first, 1] = source[columns[first, 1] * C + c] + source[columns[first, 4] * C + c]
                rows[first, 2] = source[columns[first, 3] * C + c] + middle
            kernel = out[o, c, tap]
            for k in range(3):
                kernel[0, k] = rows[0, k] + rows[2, k]
                kernel[1, k] = rows[1, k] + rows[4, k]
                kernel[2, k] = rows[3, k] + rows[2, k]
