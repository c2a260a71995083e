"""CorrNet: a ResNet on frames whose stages are followed by blocks that compare neighbouring frames (Hu et al. 2023; cslr_common.md, section 13)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.batch import Heads
from models.corrnet.config import CorrNetOptions
from models.corrnet.correlation import Correlation
from models.vac.clips import Clips
from models.vac.frames import UNIT, FrameBatch, check_frames, network_input
from models.vac.layers import init_convs
from models.vac.resnet import Trunk
from models.vac.sequence import BiLstm, answer, checked_steps, make_classifier, temporal_conv1d, temporal_width

HEADS = ("sequence", "conv")
TEACHERS = {"conv": "sequence"}  # student → teacher of the distillation
LOSS_WEIGHTS = {"distil_conv": 25.0}  # published; every other term weighs 1


class Backbone(Trunk):
    """Frames → a feature each; stage s is x + alpha · correlation(x) where `options.stages` names it."""

    def __init__(self, options: CorrNetOptions) -> None:
        super().__init__(options.depth, options.width)
        self.stages = options.stages
        self.alpha = nn.Parameter(torch.zeros(len(self.stages)))
        self.correlations = nn.ModuleDict({str(stage): Correlation(options.width * 2 ** (stage - 1)) for stage in self.stages})
        init_convs(self.correlations)

    def forward(self, frames_NCHW: Tensor, clips: Clips) -> Tensor:
        """(N, 3, H, W) → (N, 8·width)."""
        x = self.stem(frames_NCHW)
        for stage in (1, 2, 3, 4):
            x = self.stage(stage, x)
            if stage in self.stages:
                x = x + self.alpha[self.stages.index(stage)] * self.correlations[str(stage)](x, clips)
        return x.mean((2, 3))


class CorrNet(nn.Module):
    """Frames → gloss logits of the heads `sequence` (which answers) and `conv`."""

    modalities = ("frames",)

    def __init__(self, options: CorrNetOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes = options, num_classes
        width, hidden = 8 * options.width, options.hidden_size
        self.backbone = Backbone(options)
        self.temporal = temporal_conv1d(width, hidden, options.layout)
        size = temporal_width(width, hidden, options.layout)
        self.recurrent = BiLstm(size, dropout=options.dropout)
        self.classifier = make_classifier(size, num_classes, normalised=options.weight_norm)
        self.conv_classifier = None if options.share_classifier else make_classifier(size, num_classes, normalised=options.weight_norm)

    def forward(self, batch: FrameBatch, *, masked: bool | None = None) -> Heads:
        """Logits of each head: (B, S, V) with S = ⌈T/4⌉.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (always in training). Raises ValueError for frames of another size.
        """
        frames, lengths = network_input(batch, self.options.layout, UNIT, frame_size=self.options.frame_size, dtype=self.backbone.alpha.dtype)
        return self.recognise(frames, lengths, masked=not self.training if masked is None else masked)

    def recognise(self, frames_BTCHW: Tensor, lengths_B: Tensor, *, masked: bool) -> Heads:
        """`forward` on normalised frames that hold their padding; `lengths_B` counts a clip's own. Raises ValueError for clips too short."""
        check_frames(frames_BTCHW, self.options.frame_size)
        steps_B = checked_steps(self.options.layout, lengths_B)
        clips = Clips.of(lengths_B, frames_BTCHW.shape[1], masked=masked)
        features_NC = self.backbone(clips.packed(frames_BTCHW), clips)
        visual_BSD = self.temporal(clips.padded(features_NC).transpose(1, 2)).transpose(1, 2)
        answered = answer(visual_BSD, steps_B, self.recurrent, self.conv_classifier or self.classifier, self.classifier)
        return Heads(
            logits={"sequence": answered.sequence, "conv": answered.conv}, lengths=steps_B, features={"sequence": answered.features, "conv": visual_BSD}
        )
