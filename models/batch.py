"""What travels into a network and what comes out: `Batch` and `Heads`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from models.inputs.views import View

ENSEMBLE = "ensemble"  # the name by which several heads or networks answer together


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips padded to one length.

    keypoints: (B, T, K, 3) float32: x, y in pixels of the source frame, confidence; beyond a clip's length its last frame repeats. K is 0 without keypoints.
    frames: (B, T, 3, H, W) uint8 RGB (on the device, float where they were resized), or None where the network reads none; beyond a clip's length
    anything.
    heatmaps: (B, K, T, H, W) float in [0, 1], made of the keypoints on the device, or None. views: what training's draws make of each clip's frames
    on the device; empty in evaluation.
    frame_sizes: (B, 2) float32, width and height of each clip's frame in pixels. lengths: (B,) int64, frames of each clip.
    rotations: (B,) float32, the augmentation's angle in radians, applied after normalisation (zeros in evaluation).
    targets: (B, L) int64 gloss ids padded with the vocabulary's pad id, and target_lengths (B,); labels: (B,) int64, the class of an isolated sign;
    text_inputs, text_targets: (B, L) int64, what a language model is shown of the spoken sentences and what it is to say next, padded.
    sources: (B, G) int64, glosses that are to be translated, in the language model's own vocabulary, and source_lengths (B,).
    Each of these is None where there is no such annotation, or nothing reads it.
    """

    names: tuple[str, ...]
    keypoints: Tensor
    frame_sizes: Tensor
    lengths: Tensor
    rotations: Tensor
    frames: Tensor | None = None
    heatmaps: Tensor | None = None
    views: tuple[View, ...] = ()
    targets: Tensor | None = None
    target_lengths: Tensor | None = None
    labels: Tensor | None = None
    text_inputs: Tensor | None = None
    text_targets: Tensor | None = None
    sources: Tensor | None = None
    source_lengths: Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        moved: dict[str, Any] = {key: value.to(device, non_blocking=True) for key, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True, kw_only=True)
class TextHead:
    """What a translator answers.

    states: (B, E, D), its encoder's states, which generation reads, with their mask (B, E). logits: (B, L, N) over tokens, where the batch has texts.
    """

    states: Tensor
    mask: Tensor
    logits: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Heads:
    """What a recogniser answers, by head.

    logits: head → (B, S, V) float, gloss logits over time, with lengths: (B,) int64 valid steps of each clip; of an isolated sign (B, C), with one step a clip.
    features: head → (B, S, D), the input of its classifier. text: the translator's answer, None where there is no translator.
    """

    logits: Mapping[str, Tensor]
    lengths: Tensor
    features: Mapping[str, Tensor] = field(default_factory=dict)
    text: TextHead | None = None


def valid_steps(lengths_B: Tensor, num_steps: int) -> Tensor:
    """Mask (B, S) that is true on the first `lengths_B[i]` of `num_steps` steps."""
    return torch.arange(num_steps, device=lengths_B.device)[None, :] < lengths_B[:, None]
