"""Sinusoidal position codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sinusoid(length: int, width: int) -> Tensor:
    """Sinusoidal table (length, width): even columns sin, odd ones cos, base 10000 (Vaswani et al. 2017, section 3.5)."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, dtype=torch.float32) * (-math.log(10000.0) / width))
    table = torch.zeros(length, width)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)[:, : width // 2]
    return table
