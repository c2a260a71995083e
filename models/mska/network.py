"""MSKA-SLR: four keypoint streams with attention among joints, four recognition heads (Guan et al. 2025; mska.md, sections 3 and 4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.batch import Batch, Heads, valid_steps
from models.heads.visual_head import VisualHead
from models.inputs.keypoints import normalised
from models.mska.config import MskaOptions
from models.mska.layers import Block, Frames, Norm, PointwiseConv, padded_joints

HEADS = ("left", "right", "fuse", "body")


class Stream(nn.Module):
    """One stream: its keypoints through an input convolution and the blocks, then the mean over joints."""

    def __init__(self, options: MskaOptions, points: tuple[int, ...]) -> None:
        super().__init__()
        self.num_joints = len(points)
        self.points: Tensor
        self.register_buffer("points", torch.tensor(points), persistent=False)
        width = options.blocks[0].in_channels
        self.input = PointwiseConv(3, width)
        self.input_norm = Norm(width, self.num_joints)
        self.blocks = nn.ModuleList(
            Block(shape, num_subsets=options.num_subsets, num_joints=self.num_joints, dropout=options.attention_dropout) for shape in options.blocks
        )

    def forward(self, keypoints_BCTK: Tensor, frames: Frames) -> Tensor:
        """(B, 3, T, K) → (B, S, D)."""
        x = padded_joints(keypoints_BCTK[..., self.points])
        x = self.input_norm(self.input.product(x), self.input.bias)
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block(x, frames)
            frames = frames.strided(block.stride)
        pooled: Tensor = x[..., : self.num_joints].mean(3)
        return pooled.transpose(1, 2)


class Mska(nn.Module):
    """Keypoints → gloss logits of the heads `left`, `right`, `fuse`, `body`."""

    modalities = ("keypoints",)

    def __init__(self, options: MskaOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes = options, num_classes
        self.streams = nn.ModuleDict({name: Stream(options, points) for name, points in options.streams.items()})
        head = options.head.model_dump()
        self.heads = nn.ModuleDict({name: VisualHead(width, num_classes, **head) for name, width in options.head_inputs.items()})

    def forward(self, batch: Batch, *, masked: bool | None = None) -> Heads:
        """Logits of each head: (B, S, V) with S = T/4.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (always in training). Raises ValueError for clips beyond the position tables.
        """
        return self.recognise(normalised(batch), batch.lengths, masked=not self.training if masked is None else masked)

    def recognise(self, keypoints_BTKC: Tensor, lengths_B: Tensor, *, masked: bool) -> Heads:
        """`forward` on normalised keypoints (B, T, K, 3)."""
        _, T, K, _ = keypoints_BTKC.shape
        if self.options.max_frames < T:
            raise ValueError(f"clips of {T} frames: this network's position tables end at {self.options.max_frames}; select fewer frames")
        if self.options.num_keypoints != K:
            raise ValueError(f"clips with {K} keypoints: this network reads {self.options.num_keypoints}")
        parameter = next(self.parameters())
        frames = Frames(lengths_B, T, masked=masked, dtype=parameter.dtype)
        keypoints_BCTK = keypoints_BTKC.to(parameter.dtype).permute(0, 3, 1, 2)
        streams = {name: stream(keypoints_BCTK, frames) for name, stream in self.streams.items()}
        steps = self.output_lengths(lengths_B)
        valid = valid_steps(steps, streams["body"].shape[1])
        logits, features = {}, {}
        for name, x_BSD in concatenated(streams).items():
            logits[name], features[name] = self.heads[name](x_BSD, valid, masked=masked)
        return Heads(logits={name: logits[name] for name in HEADS}, lengths=steps, features=features)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Steps S of clips of `lengths_B` frames: floor((L + 1)/2) per stride of 2."""
        for block in self.options.blocks:
            lengths_B = (lengths_B - 1) // block.stride + 1
        return lengths_B


def concatenated(streams: dict[str, Tensor]) -> dict[str, Tensor]:
    """Input of each head: concatenated stream features (B, S, ·), in the published order."""
    left, right, face, body = (streams[name] for name in ("left", "right", "face", "body"))
    return {
        "fuse": torch.cat([left, face, right, body], dim=2),
        "left": torch.cat([left, face], dim=2),
        "right": torch.cat([right, face], dim=2),
        "body": body,
    }


def ensemble_logits(heads: Heads) -> Tensor:
    """log Σ_h softmax(logits_h) (B, S, V): the heads' probabilities added with equal weight (mska.md, section 4)."""
    return torch.logsumexp(torch.stack([F.log_softmax(logits.float(), dim=-1) for logits in heads.logits.values()]), dim=0)
