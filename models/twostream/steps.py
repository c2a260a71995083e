"""Where clips of a padded batch end, and how many steps their answers have."""

from __future__ import annotations

from torch import Tensor

from models.s3d.layers import NO_ENDS, Ends


def clip_ends(lengths_B: Tensor, num_frames: int, *, masked: bool) -> Ends:
    """Ends of clips of `lengths_B` frames, padded to `num_frames`; nothing is masked in the published form or where no clip is padded."""
    return Ends(lengths=lengths_B) if masked and bool((lengths_B < num_frames).any()) else NO_ENDS


def step_counts(lengths_B: Tensor, num_frames: int, num_steps: int, ends: Ends) -> Tensor:
    """Steps (B,) of clips of `lengths_B` of `num_frames` frames, where the padded batch has `num_steps`: their share of it, rounded down, as published."""
    return lengths_B * num_steps // num_frames if ends.lengths is None else ends.lengths


def check_input(stream: str, x_BCTHW: Tensor, channels: int) -> None:
    """Raises ValueError where `x_BCTHW` is not what a stream of `channels` input channels reads."""
    if x_BCTHW.dim() != 5 or x_BCTHW.shape[1] != channels:
        raise ValueError(f"the {stream} stream reads (clips, {channels}, frames, height, width), not {tuple(x_BCTHW.shape)}")
