"""A tiny MSKA and batches for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.batch import Batch
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import Mska

OPTIONS = MskaOptions(
    num_keypoints=16,
    blocks=(BlockShape(4, 4, 2, 5, 2), BlockShape(4, 6, 2, 3, 1), BlockShape(6, 6, 3, 3, 2)),
    num_subsets=2,
    max_frames=64,
    left=(0, 1, 2),
    right=(3, 4, 5),
    face=(6, 7),
    body=tuple(range(9)),
    head=HeadOptions(hidden_size=12, ff_size=16),
)
NUM_CLASSES = 7


def tiny(*, dropout: bool = False, seed: int = 0) -> Mska:
    """A network with random weights in every entry, statistics of batch norm included."""
    torch.manual_seed(seed)
    off = OPTIONS.model_copy(update={"attention_dropout": 0.0, "head": OPTIONS.head.model_copy(update={"dropout": 0.0})})
    network = Mska(OPTIONS if dropout else off, NUM_CLASSES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def keypoints(lengths: Sequence[int], seed: int = 0, num_keypoints: int = 16) -> torch.Tensor:
    """Normalised keypoints (B, T, K, 3) whose last frames repeat."""
    generator = torch.Generator().manual_seed(seed)
    clips = torch.rand(len(lengths), max(lengths), num_keypoints, 3, generator=generator) * 2 - 1
    for clip, length in zip(clips, lengths, strict=True):
        clip[length:] = clip[length - 1]
    return clips


def batch(lengths: Sequence[int], seed: int = 0) -> Batch:
    """Random clips in pixels of 200 × 200 frames."""
    count = len(lengths)
    return Batch(
        names=tuple(map(str, range(count))),
        keypoints=(keypoints(lengths, seed) + 1) * 100,
        frame_sizes=torch.full((count, 2), 200.0),
        lengths=torch.tensor(lengths),
        rotations=torch.zeros(count),
    )
