"""Gloss logits made ready for decoding: on the CPU, checked, with the normaliser of each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Emissions:
    """Log-probabilities of a batch as `logits` (B, S, V) less `normalisers` (B, S), so that no second (B, S, V) array is made.

    `lengths` (B,) are in time steps.
    """

    logits: NDArray[np.float32]
    normalisers: NDArray[np.float64]
    lengths: NDArray[np.int64]
    blank: int

    def __len__(self) -> int:
        return len(self.lengths)

    def clip(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Logits (S_i, V) and normalisers (S_i,) of one clip, without its padding."""
        length = self.lengths[index]
        return self.logits[index, :length], self.normalisers[index, :length]

    def map_clips(self, function: Callable[[int], Result], *, num_threads: int | None = None) -> list[Result]:
        """`function(index)` of every clip, in order; on PyTorch's number of threads, as set by the process, unless told."""
        return map_threads(function, len(self), num_threads=num_threads)


def map_threads(function: Callable[[int], Result], count: int, *, num_threads: int | None = None) -> list[Result]:
    """`function(index)` of 0 .. count - 1, in order; on PyTorch's number of threads, as set by the process, unless told."""
    workers = min(num_threads or torch.get_num_threads(), count)
    if workers <= 1:
        return [function(index) for index in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(function, range(count)))


def read_emissions(logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, blank: int = 0) -> Emissions:
    """Check a batch of logits and compute its normalisers; what lies beyond a clip's length is never looked at.

    logits_BSV: (B, S, V) of any floating type and device, taken as float32; lengths_B: (B,) time steps, 0 allowed.
    Raises ValueError for shapes that don't fit, and for a step within a clip without a probability distribution (NaN, +inf, or -inf throughout).
    """
    lengths = check_logits(logits_BSV, lengths_B, blank=blank)
    logits = logits_BSV.detach().to("cpu", torch.float32).contiguous()
    normalisers = torch.logsumexp(logits, dim=-1).double().numpy()
    check_normalisers(normalisers, lengths)
    return Emissions(logits=logits.numpy(), normalisers=normalisers, lengths=lengths, blank=blank)


def check_logits(logits_BSV: Tensor, lengths_B: Tensor | Sequence[int], *, blank: int = 0) -> NDArray[np.int64]:
    """The lengths (B,), on the CPU. Raises ValueError for shapes that don't fit."""
    if logits_BSV.ndim != 3 or not logits_BSV.is_floating_point():
        raise ValueError(f"logits must be floating-point (B, S, V), not {logits_BSV.dtype} of shape {tuple(logits_BSV.shape)}")
    num_clips, num_steps, num_classes = logits_BSV.shape
    lengths = np.asarray(torch.as_tensor(lengths_B).cpu().numpy(), dtype=np.int64).reshape(-1)
    if len(lengths) != num_clips or (num_clips and not 0 <= lengths.min() <= lengths.max() <= num_steps):
        raise ValueError(f"lengths {lengths.tolist()} don't fit logits of shape {tuple(logits_BSV.shape)}: one in 0..{num_steps} for each clip")
    if not 0 <= blank < num_classes:
        raise ValueError(f"blank {blank} is not one of {num_classes} classes")
    return lengths


def check_normalisers(normalisers_BS: NDArray[np.float64], lengths: NDArray[np.int64]) -> None:
    """Raises ValueError for a step within a clip without a probability distribution."""
    within_BS = np.arange(normalisers_BS.shape[1]) < lengths[:, None]
    broken = (~np.isfinite(normalisers_BS) & within_BS).any(axis=1)
    if broken.any():
        raise ValueError(f"logits of clip {int(broken.argmax())} of the batch are not finite: the network diverged or its input was broken")
