"""The visual head that MSKA and the TwoStream systems share: features over time → gloss logits (mska.md, section 4)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.positions import sinusoid

MAX_STEPS = 5000  # length of the published position table


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch norm whose training statistics count valid steps only; padded steps pass through unnormalised in training."""

    def forward(self, x_BSD: Tensor, valid_BS: Tensor | None = None) -> Tensor:
        """(B, S, D) → (B, S, D). In evaluation every step is normalised with the running statistics."""
        if not self.training or valid_BS is None:
            return self.over_rows(x_BSD.transpose(1, 2)).transpose(1, 2)
        out = x_BSD.clone()
        out[valid_BS] = self.over_rows(x_BSD[valid_BS]).to(out.dtype)
        return out

    def over_rows(self, x: Tensor) -> Tensor:
        """Plain batch norm of (N, D) or (N, D, S)."""
        return super().forward(x)


class StepConv(nn.Module):
    """Convolution over steps with "same" padding on (B, S, D), as one matrix product over stacked taps; `weight` (O, D, kernel)."""

    def __init__(self, in_size: int, out_size: int, kernel: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(in_size * kernel)
        self.kernel = kernel
        self.weight = nn.Parameter(torch.empty(out_size, in_size, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_size).uniform_(-bound, bound))

    def forward(self, x_BSD: Tensor) -> Tensor:
        """(B, S, D) → (B, S, O)."""
        if x_BSD.is_cuda:
            return F.conv1d(x_BSD.transpose(1, 2), self.weight, self.bias, padding="same").transpose(1, 2)
        before = (self.kernel - 1) // 2
        padded = F.pad(x_BSD, (0, 0, before, self.kernel - 1 - before))
        # Taps in the weight's own order, (D, kernel): a weight is larger than a clip's features, and one laid out anew is kept for the backward pass.
        taps = torch.stack([padded[:, tap : tap + x_BSD.shape[1]] for tap in range(self.kernel)], dim=3).flatten(2)
        return F.linear(taps, self.weight.flatten(1), self.bias)


class VisualHead(nn.Module):
    """Linear, masked batch norm, ReLU, position code, convolutional feed-forward, layer norm, classifier."""

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        *,
        hidden_size: int = 512,
        ff_size: int = 2048,
        ff_kernels: tuple[int, int] = (3, 3),
        position: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.input = nn.Linear(input_size, hidden_size)
        self.input_norm = MaskedBatchNorm(hidden_size)
        self.ff_norm = nn.LayerNorm(hidden_size, eps=1e-6)
        self.ff_in = StepConv(hidden_size, ff_size, ff_kernels[0])
        self.ff_out = StepConv(ff_size, hidden_size, ff_kernels[1])
        self.output_norm = nn.LayerNorm(hidden_size, eps=1e-6)
        self.classifier = nn.Linear(hidden_size, num_classes)
        self.dropout = nn.Dropout(dropout)
        self.position: Tensor | None
        self.register_buffer("position", sinusoid(MAX_STEPS, hidden_size) if position else None, persistent=False)

    def forward(self, x_BSD: Tensor, valid_BS: Tensor, *, masked: bool) -> tuple[Tensor, Tensor]:
        """(B, S, D) → logits (B, S, V) and the feature (B, S, hidden) they are read from.

        valid_BS: which steps belong to a clip; they alone count in training's batch norm. masked: the convolutions see zeros beyond a clip's
        end, as if it stood alone; the published form (False) lets them see padded steps.
        """
        border = valid_BS[:, :, None].to(x_BSD.dtype) if masked else None
        hidden = torch.relu(self.input_norm(self.input(x_BSD), valid_BS))
        if self.position is not None:
            hidden = hidden + self.position[: hidden.shape[1]].to(hidden.dtype)
        hidden = self.dropout(hidden)
        inner = self.ff_norm(hidden)
        inner = self.dropout(torch.relu(self.ff_in(inner if border is None else inner * border)))
        inner = self.dropout(self.ff_out(inner if border is None else inner * border))
        feature = self.output_norm(inner + hidden)
        return self.classifier(feature), feature
