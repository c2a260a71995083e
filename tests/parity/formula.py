"""The weights and inputs of parity cases, computed from names alone, so that no checkpoint has to travel.

Every array is drawn from PCG64 seeded by `[seed, crc32(name)]`; inputs are named `input:NAME`. The case files state the rest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SAMPLES = 64  # entries that a case records of an output


def _generator(name: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


def tensor(name: str, shape: Sequence[int], seed: int = 0) -> NDArray:
    """Value of the parameter or buffer `name`, its key in the published state dict: float32, int64 for counters of batches."""
    generator = _generator(name, seed)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    if name.endswith("running_var") or (len(shape) <= 1 and name.endswith("weight") and not name.endswith("running_mean")):
        value = generator.uniform(0.5, 1.5, shape)
    elif name.endswith("running_mean") or len(shape) <= 1:
        value = 0.1 * generator.standard_normal(shape)
    else:
        value = generator.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))  # unit variance after a layer of this fan-in
    return np.asarray(value, dtype=np.float32)


def array(name: str, shape: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    """Standard-normal float32 input called `name`."""
    return _generator("input:" + name, seed).standard_normal(tuple(shape)).astype(np.float32)


def integers(name: str, shape: Sequence[int], low: int, high: int, seed: int = 0) -> NDArray[np.int64]:
    """Integer input called `name`, uniform on [low, high)."""
    return _generator("input:" + name, seed).integers(low, high, tuple(shape)).astype(np.int64)


def positions(size: int, count: int = SAMPLES) -> NDArray[np.int64]:
    """Flat positions (C order) at which an output of `size` elements is sampled."""
    if size <= count:
        return np.arange(size)
    return np.unique(np.linspace(0, size - 1, count).round().astype(np.int64))


def describe(value: NDArray, count: int = SAMPLES) -> dict[str, object]:
    """The record of an output: shape, mean, standard deviation and sampled entries."""
    flat = np.asarray(value).reshape(-1).astype(np.float64)
    sample = [float(entry) for entry in flat[positions(flat.size, count)]]
    return {"shape": list(np.shape(value)), "mean": float(flat.mean()), "std": float(flat.std()), "sample": sample}
