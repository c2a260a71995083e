"""The published state dict that a parity case describes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from tests.parity import formula
from tests.parity.case import Case

Constant = Callable[[str, tuple[int, ...]], Tensor]


def published_state(case: Case, *, constant: Constant | None = None) -> dict[str, Tensor]:
    """Published name → value for every entry of `parameters`, in the file's order: float32, int64 for counters of batches.

    `config.scale` multiplies in float64 and rounds to float32; `aliases` and `tied` entries hold the very tensor of the entry
    that they repeat. `constants` (tables that the architecture defines itself) come from `constant(name, shape)`, and are left
    out where it isn't given. Raises ParityError for a malformed file.
    """
    repeats = {**case.get("aliases", {}), **case.get("tied", {})}
    constants, scale = frozenset(case["constants"]), case.config.get("scale", {})
    made: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for name, shape in case["parameters"]:
        source = _source(name, repeats)
        if source in constants:
            if constant is None:
                continue
            made.setdefault(source, constant(source, tuple(shape)))
        elif source not in made:
            made[source] = _filled(source, shape, case.seed, scale)
        state[name] = made[source]
    return state


def _source(name: str, repeats: Mapping[str, str]) -> str:
    while name in repeats:
        name = repeats[name]
    return name


def _filled(name: str, shape: Sequence[int], seed: int, scale: Mapping[str, float]) -> Tensor:
    value = formula.tensor(name, shape, seed)
    factors = [float(factor) for pattern, factor in scale.items() if re.search(pattern, name)]
    if factors and value.dtype == np.float32:
        value = (value.astype(np.float64) * np.prod(factors)).astype(np.float32)
    return torch.from_numpy(value)
