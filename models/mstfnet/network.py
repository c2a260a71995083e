"""MSTFNet: a ResNet on frames with fusion over space and time, lift pooling, and auxiliary heads on its stages (mstfnet.md)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.batch import Heads
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.fusion import Fusion
from models.mstfnet.levels import NUM_LEVELS, Levels
from models.mstfnet.lift_pool import lifting_conv1d
from models.vac.clips import Clips
from models.vac.frames import UNIT, FrameBatch, check_frames, network_input
from models.vac.layers import init_convs
from models.vac.resnet import Trunk
from models.vac.sequence import BiLstm, answer, by_clip, checked_steps, make_classifier

LEVELS = tuple(f"level{level + 1}" for level in range(NUM_LEVELS))
HEADS = ("sequence", "conv", *LEVELS)
TEACHERS = {"conv": "sequence"}  # student → teacher of the distillation
LOSS_WEIGHTS = {"distil_conv": 25.0}  # published; every other term weighs 1
LIFTED_STEPS = 2  # least steps after a lift pool: its instance norm needs two


class Backbone(Trunk):
    """Frames → a feature each, and the outputs of stages 2, 3, 4; a stage goes on as x + alpha · fusion(x)."""

    def __init__(self, options: MstfNetOptions) -> None:
        super().__init__(options.depth, options.width)
        self.alpha = nn.Parameter(torch.zeros(3))
        self.fusions = nn.ModuleList(Fusion(options.width * 2**stage) for stage in (1, 2, 3))
        init_convs(self.fusions)

    def forward(self, frames_NCHW: Tensor, clips: Clips) -> tuple[Tensor, list[Tensor]]:
        """(N, 3, H, W) → (N, 8·width), and the stages' (N, C, H, W)."""
        x = self.stage(1, self.stem(frames_NCHW))
        stages = []
        for index, fusion in enumerate(self.fusions):
            x = self.stage(index + 2, x)
            stages.append(x)
            x = x + self.alpha[index] * fusion(x, clips)
        return x.mean((2, 3)), stages


class MstfNet(nn.Module):
    """Frames → gloss logits of the heads `sequence` (which answers) and `conv`, and in training `level1`, `level2`, `level3`."""

    modalities = ("frames",)

    def __init__(self, options: MstfNetOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes = options, num_classes
        hidden = options.hidden_size
        self.backbone = Backbone(options)
        self.temporal = lifting_conv1d(8 * options.width, hidden, options.layout)
        self.recurrent = BiLstm(hidden, dropout=options.dropout)
        self.levels = Levels(options.width, options.level_size, hidden, shared=options.attention == "shared")
        self.classifier = make_classifier(hidden, num_classes, normalised=options.weight_norm)
        self.conv_classifier = None if options.share_classifier else make_classifier(hidden, num_classes, normalised=options.weight_norm)

    def forward(self, batch: FrameBatch, *, masked: bool | None = None) -> Heads:
        """Logits of each head: (B, S, V) with S = ⌈T/4⌉.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (always in training). Raises ValueError for frames of another size, clips too short.
        """
        frames, lengths = network_input(batch, self.options.layout, UNIT, frame_size=self.options.frame_size, dtype=self.backbone.alpha.dtype)
        return self.recognise(frames, lengths, masked=not self.training if masked is None else masked)

    def recognise(self, frames_BTCHW: Tensor, lengths_B: Tensor, *, masked: bool, auxiliary: bool | None = None) -> Heads:
        """`forward` on normalised frames that hold their padding; `lengths_B` counts a clip's own.

        auxiliary: the levels' heads too (default in training only).
        """
        check_frames(frames_BTCHW, self.options.frame_size)
        clips = Clips.of(lengths_B, frames_BTCHW.shape[1], masked=masked)
        checked_steps(self.options.layout, torch.tensor(clips.counts), least_steps=LIFTED_STEPS)
        steps_B = checked_steps(self.options.layout, lengths_B)
        features_NC, stages = self.backbone(clips.packed(frames_BTCHW), clips)
        visual_BSD = by_clip(self.temporal, clips.padded(features_NC).transpose(1, 2), clips).transpose(1, 2)
        answered = answer(visual_BSD, steps_B, self.recurrent, self.conv_classifier or self.classifier, self.classifier)
        logits = {"sequence": answered.sequence, "conv": answered.conv}
        if self.training if auxiliary is None else auxiliary:
            logits |= {name: self.classifier(level) for name, level in zip(LEVELS, self.levels(stages, clips), strict=True)}
        return Heads(logits=logits, lengths=steps_B, features={"sequence": answered.features, "conv": visual_BSD})
