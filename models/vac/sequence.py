"""From a feature per frame to gloss logits: temporal convolution, BiLSTM, normalised classifier (cslr_common.md, sections 4 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from models.vac.clips import Clips
from models.vac.layers import StepConv
from models.vac.temporal import TemporalLayout


def temporal_conv1d(in_size: int, hidden_size: int, layout: TemporalLayout) -> nn.Sequential:
    """(B, C, T) → (B, hidden, S): a convolution, batch norm and ReLU for each K of the layout, max pooling for each P."""
    layers: list[nn.Module] = []
    for layer in layout.layers:
        if layer.pools:
            layers.append(nn.MaxPool1d(layer.size))
        else:
            layers += [StepConv(in_size, hidden_size, layer.size), nn.BatchNorm1d(hidden_size), nn.ReLU()]
            in_size = hidden_size
    return nn.Sequential(*layers)


def temporal_width(in_size: int, hidden_size: int, layout: TemporalLayout) -> int:
    """Channels of what `temporal_conv1d` makes."""
    return in_size if all(layer.pools for layer in layout.layers) else hidden_size


class BiLstm(nn.Module):
    """Two bidirectional layers over each clip's own steps; zeros beyond them."""

    def __init__(self, size: int, *, num_layers: int = 2, dropout: float = 0.3) -> None:
        super().__init__()
        self.rnn = nn.LSTM(size, size // 2, num_layers, batch_first=True, bidirectional=True, dropout=dropout)

    def forward(self, x_BSD: Tensor, steps_B: Tensor) -> Tensor:
        """(B, S, D) → (B, S, D)."""
        packed = pack_padded_sequence(x_BSD, steps_B.cpu(), batch_first=True, enforce_sorted=False)
        out, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=x_BSD.shape[1])
        return out


class NormLinear(nn.Module):
    """Product with classes of unit length; `weight` (D, V), no bias."""

    def __init__(self, in_size: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_size, num_classes))
        nn.init.xavier_uniform_(self.weight, gain=math.sqrt(2))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., V)."""
        return x @ F.normalize(self.weight, dim=0, eps=1e-12)


def make_classifier(in_size: int, num_classes: int, *, normalised: bool) -> nn.Module:
    """A `NormLinear`, as in all published models but the plain VAC, or a linear map with bias."""
    return NormLinear(in_size, num_classes) if normalised else nn.Linear(in_size, num_classes)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a branch answers: logits (B, S, V) of its convolution and of its BiLSTM, and the BiLSTM's output (B, S, D)."""

    conv: Tensor
    sequence: Tensor
    features: Tensor


def answer(visual_BSD: Tensor, steps_B: Tensor, recurrent: nn.Module, conv_classifier: nn.Module, classifier: nn.Module) -> Answer:
    """The two heads of a branch on the temporal convolution's output (B, S, D)."""
    features: Tensor = recurrent(visual_BSD, steps_B)
    return Answer(conv=conv_classifier(visual_BSD), sequence=classifier(features), features=features)


def checked_steps(layout: TemporalLayout, lengths_B: Tensor, *, least_steps: int = 1) -> Tensor:
    """Steps S of clips of `lengths_B` frames, padding included. Raises ValueError for one that leaves fewer than `least_steps`."""
    steps_B = layout.output_length(lengths_B)
    if int(steps_B.min()) < least_steps:
        shortest = layout.shortest_clip(least_steps=least_steps)
        raise ValueError(
            f"a clip of {int(lengths_B.min())} frames with its padding is too short for this network: it takes {layout.padded_length(shortest)}, "
            f"which is {shortest} without padding"
        )
    return steps_B


def by_clip(network: nn.Module, x_BCT: Tensor, clips: Clips) -> Tensor:
    """A 1-D `network` that looks beyond a clip's end, on each clip alone where their lengths differ: (B, C, T) → (B, D, S), zeros beyond."""
    if clips.alike:
        whole: Tensor = network(x_BCT[:, :, : clips.counts[0]])
        return whole
    outputs: Sequence[Tensor] = [network(clip[None, :, :count])[0].T for clip, count in zip(x_BCT, clips.counts, strict=True)]
    return torch.nn.utils.rnn.pad_sequence(list(outputs), batch_first=True).transpose(1, 2)
