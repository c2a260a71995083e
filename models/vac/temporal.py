"""Lengths through the 1-D network over time: how clips are padded, how many steps come out (cslr_common.md, section 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Count = TypeVar("Count", int, Tensor)

# conv_type → layers in order: K<k> a convolution over k steps without padding, P<p> pooling by p. Types 9 and 10 repeat 3 and 4.
CONV_TYPES: dict[int, str] = {
    0: "K3",
    1: "K5 P2",
    2: "K5 P2 K5 P2",
    3: "K5 K5 P2",
    4: "K5 K5",
    5: "K5 P2 K5",
    6: "P2 K5 K5",
    7: "P2 K5 P2 K5",
    8: "P2 P2 K5 K5",
    9: "K5 K5 P2",
    10: "K5 K5",
}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer over time: a convolution of `size` steps, or a pool by `size`."""

    pools: bool
    size: int


@dataclass(frozen=True, kw_only=True)
class TemporalLayout:
    """The layers over time, and the arithmetic that follows from them."""

    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, conv_type: int) -> TemporalLayout:
        """The published layout of this number."""
        return cls(layers=tuple(Layer(pools=layer[0] == "P", size=int(layer[1:])) for layer in CONV_TYPES[conv_type].split()))

    @property
    def left(self) -> int:
        """How often a clip's first frame is repeated before it.

        This is the published rule; where pooling comes first it isn't the receptive field's, and clips then lose steps.
        """
        left, last = 0, 1
        for layer in self.layers:
            if layer.pools:
                last = layer.size
            else:
                left = left * last + (layer.size - 1) // 2
        return left

    @property
    def stride(self) -> int:
        """Frames per step."""
        stride = 1
        for layer in self.layers:
            stride *= layer.size if layer.pools else 1
        return stride

    def padded_length(self, length: Count) -> Count:
        """Frames of a clip of `length` frames with its own padding (the published `len_x`)."""
        return -(-length // self.stride) * self.stride + 2 * self.left

    def output_length(self, padded_length: Count) -> Count:
        """Steps of a clip of so many frames, its own padding included; below 1 where it is too short."""
        for layer in self.layers:
            padded_length = padded_length // layer.size if layer.pools else padded_length - (layer.size - 1)
        return padded_length

    def shortest_clip(self, *, least_steps: int = 1) -> int:
        """Frames of the shortest clip, unpadded, that leaves `least_steps` steps."""
        length = 1
        while self.output_length(self.padded_length(length)) < least_steps:
            length += 1
        return length

    def frame_index(self, lengths_B: Tensor) -> Tensor:
        """Which frame of each clip stands where after padding, (B, T): first frame `left` times, the clip, its last frame to the longest's end."""
        places = torch.arange(int(self.padded_length(lengths_B).max()), device=lengths_B.device) - self.left
        return torch.minimum(places.clamp_min(0)[None, :], lengths_B[:, None] - 1)
