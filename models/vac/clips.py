"""Frames of several clips one after the other, with none between them that belongs to no clip.

The 2-D parts of these networks see single frames, so they run on all frames of a batch at once, (N, C, H, W) in channels-last memory; what looks
along time asks `Clips` where each clip begins and ends. A clip then answers as if it stood alone, and no work is spent on padding. The
published padded form is the same with clips that all reach to the batch's end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, kw_only=True)
class Clips:
    """How many frames each clip of a packed batch has."""

    counts: tuple[int, ...]

    @classmethod
    def of(cls, lengths_B: Tensor, num_frames: int, *, masked: bool) -> Clips:
        """Clips of a batch padded to `num_frames`: their own frames only where `masked`, else all of them, as published."""
        return cls(counts=tuple(lengths_B.tolist()) if masked else (num_frames,) * len(lengths_B))

    @property
    def alike(self) -> bool:
        return len(set(self.counts)) == 1

    def strided(self, stride: int) -> Clips:
        """The same clips of which every `stride`th frame is left."""
        return Clips(counts=tuple(count // stride for count in self.counts))

    def packed(self, x: Tensor) -> Tensor:
        """(B, T, ...) → (N, ...)."""
        if self.alike:
            return x[:, : self.counts[0]].flatten(0, 1)
        return torch.cat([clip[:count] for clip, count in zip(x, self.counts, strict=True)])

    def padded(self, x: Tensor) -> Tensor:
        """(N, ...) → (B, T, ...), T the longest clip's, zeros beyond each clip's end."""
        if self.alike:
            return x.view(len(self.counts), self.counts[0], *x.shape[1:])
        return pad_sequence(list(x.split(self.counts)), batch_first=True)

    def neighbours(self, offset: int, device: torch.device) -> Tensor:
        """(N,) index of the frame `offset` later in each frame's clip; the clip's first or last frame where that lies outside."""
        return torch.cat([start + (torch.arange(count) + offset).clamp(0, count - 1) for start, count in self._spans()]).to(device)

    def _spans(self) -> list[tuple[int, int]]:
        starts = [sum(self.counts[:clip]) for clip in range(len(self.counts))]
        return list(zip(starts, self.counts, strict=True))

    def each(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function`, from (B, T, ...) to (B, T', ...), of all clips at once where they are alike, else of one after the other: (N, ...) → (N', ...)."""
        if self.alike:
            return function(x.unflatten(0, (len(self.counts), self.counts[0]))).flatten(0, 1)
        return torch.cat([function(clip[None])[0] for clip in x.split(self.counts)])

    def reduced(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """`function`, from (B, T, ...) to (B, ...), of each clip: (N, ...) → (B, ...)."""
        if self.alike:
            return function(x.unflatten(0, (len(self.counts), self.counts[0])))
        return torch.cat([function(clip[None]) for clip in x.split(self.counts)])

    def spread(self, x: Tensor) -> Tensor:
        """(B, ...) → (N, ...): each clip's value at each of its frames."""
        return x.repeat_interleave(torch.tensor(self.counts, device=x.device), dim=0, output_size=sum(self.counts))
