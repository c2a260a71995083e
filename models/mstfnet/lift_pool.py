"""Pooling of two steps into one by a learned lifting scheme (Hu et al. 2022; mstfnet.md, section 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.vac.layers import StepConv
from models.vac.temporal import TemporalLayout


class Lifted(NamedTuple):
    """Smooth part, detail and odd steps, (B, C, L/2) each."""

    smooth: Tensor
    detail: Tensor
    odd: Tensor

    def norms(self) -> Tensor:
        """L2 norms (2,) of smooth − odd and of the detail over the whole batch: the paper's regularisers, which the published training leaves out."""
        return torch.stack([torch.linalg.vector_norm(self.smooth - self.odd), torch.linalg.vector_norm(self.detail)])


class Gate(nn.Module):
    """x + x · (sigmoid(norm(conv(x))) − 1/2), the norm over all steps of a clip: (B, C, L) → (B, C, L)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = StepConv(channels, channels, 5, padding=2)
        self.norm = nn.InstanceNorm1d(channels, affine=True)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + x * (torch.sigmoid(self.norm(self.conv(x))) - 0.5)


def _lifter(channels: int) -> nn.Sequential:
    last = nn.Conv1d(channels, channels, 1)
    nn.init.zeros_(last.weight)
    return nn.Sequential(nn.Conv1d(channels, channels, 3, padding=1, groups=channels), nn.ReLU(), last, nn.Tanh())


class LiftPool(nn.Module):
    """(B, C, L) → (B, C, L/2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.predictor, self.updater = _lifter(channels), _lifter(channels)
        self.smooth_gate, self.detail_gate = Gate(channels), Gate(channels)

    def forward(self, x_BCL: Tensor) -> Tensor:
        lifted = self.lift(x_BCL)
        out: Tensor = self.smooth_gate(lifted.smooth) + self.detail_gate(lifted.detail)
        return out

    def lift(self, x_BCL: Tensor) -> Lifted:
        """The lifting step. Raises ValueError for an odd number of steps, and for fewer than four: the norm of one step is nothing."""
        if x_BCL.shape[2] % 2 or x_BCL.shape[2] < 4:
            raise ValueError(f"{x_BCL.shape[2]} steps can't be pooled by lifting: an even number of at least 4 is needed")
        even, odd = x_BCL[:, :, ::2], x_BCL[:, :, 1::2]
        detail = odd - self.predictor(even)
        return Lifted(smooth=even + self.updater(detail), detail=detail, odd=odd)


def lifting_conv1d(in_size: int, hidden_size: int, layout: TemporalLayout) -> nn.Sequential:
    """(B, C, T) → (B, hidden, S): convolution, batch norm and ReLU for each K of the layout, a `LiftPool` for each P."""
    layers: list[nn.Module] = []
    for layer in layout.layers:
        if layer.pools:
            layers.append(LiftPool(hidden_size))
        else:
            layers.append(nn.Sequential(StepConv(in_size, hidden_size, layer.size), nn.BatchNorm1d(hidden_size), nn.ReLU()))
            in_size = hidden_size
    return nn.Sequential(*layers)
