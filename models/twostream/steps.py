"""What streams read of a batch, where its clips end, and how many steps their answers have."""

from __future__ import annotations

from torch import Tensor, nn

from models.batch import Batch
from models.inputs.pictures import stream_input
from models.s3d.layers import NO_ENDS, Ends


def frames_of(batch: Batch) -> Tensor:
    """What an RGB stream reads, (B, 3, T, H, W) in [−1, 1]. Raises ValueError for a batch without frames, or as it was before `on_device`."""
    if batch.frames is None or not batch.frames.is_floating_point():
        raise ValueError("a batch without resized frames: an RGB stream reads what its inputs' on_device makes")
    return stream_input(batch.frames)


def maps_of(batch: Batch) -> Tensor:
    """What a keypoint stream reads, (B, K, T, H, W) in [−1, 1]. Raises ValueError for a batch without heatmaps."""
    if batch.heatmaps is None:
        raise ValueError("a batch without heatmaps: a keypoint stream reads what its inputs' on_device makes")
    return (batch.heatmaps - 0.5) / 0.5


def clip_ends(lengths_B: Tensor, num_frames: int, *, masked: bool) -> Ends:
    """Ends of clips of `lengths_B` frames, padded to `num_frames`; nothing is masked in the published form or where no clip is padded."""
    return Ends(lengths=lengths_B) if masked and bool((lengths_B < num_frames).any()) else NO_ENDS


def reads_alone(trunk: nn.Module, masked: bool | None) -> bool:
    """Whether a trunk sees each clip as if it stood alone: as `masked` says, else in its evaluation form, in which a frozen one stays while others learn."""
    return not trunk.training if masked is None else masked


def as_extracted(inputs_BSD: Tensor, valid_BS: Tensor) -> Tensor:
    """Features of clips that were read alone, zero beyond their ends: so the published joint training pads what was extracted (twostream.md, section 12)."""
    return inputs_BSD * valid_BS[:, :, None].to(inputs_BSD.dtype)


def step_counts(lengths_B: Tensor, num_frames: int, num_steps: int, ends: Ends) -> Tensor:
    """Steps (B,) of clips of `lengths_B` of `num_frames` frames, where the padded batch has `num_steps`: their share of it, rounded down, as published."""
    return lengths_B * num_steps // num_frames if ends.lengths is None else ends.lengths


def check_input(stream: str, x_BCTHW: Tensor, channels: int) -> None:
    """Raises ValueError where `x_BCTHW` is not what a stream of `channels` input channels reads."""
    if x_BCTHW.dim() != 5 or x_BCTHW.shape[1] != channels:
        raise ValueError(f"the {stream} stream reads (clips, {channels}, frames, height, width), not {tuple(x_BCTHW.shape)}")
