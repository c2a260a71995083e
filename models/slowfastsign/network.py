"""SlowFastSign: SlowFast with fusion both ways, and temporal branches for each pathway in training (Ahn et al. 2024; slowfastsign.md)."""

from __future__ import annotations

from torch import Tensor, nn

from models.batch import Heads
from models.slowfastsign.backbone import Backbone
from models.slowfastsign.config import SlowFastOptions
from models.vac.clips import Clips
from models.vac.frames import FrameBatch, PixelScale, check_frames, network_input
from models.vac.sequence import BiLstm, answer, checked_steps, make_classifier, temporal_conv1d, temporal_width

BRANCHES = ("main", "slow", "fast")
HEADS = ("sequence", "conv", "slow_sequence", "slow_conv", "fast_sequence", "fast_conv")
TEACHERS = {"conv": "sequence", "slow_conv": "slow_sequence", "fast_conv": "fast_sequence"}  # student → teacher of the distillation
LOSS_WEIGHTS = {  # published; every other term weighs 1
    "distil_conv": 25.0,
    **{f"ctc_{branch}_{kind}": 0.25 for branch in ("slow", "fast") for kind in ("sequence", "conv")},
    **{f"distil_{branch}_conv": 0.25 * 25.0 for branch in ("slow", "fast")},
}
SCALE = PixelScale(mean=0.45, deviation=0.225)


class SlowFastSign(nn.Module):
    """Frames → gloss logits of the heads `sequence` (which answers) and `conv`, and in training those of the slow and the fast branch."""

    modalities = ("frames",)

    def __init__(self, options: SlowFastOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes = options, num_classes
        layout, hidden = options.layout, options.hidden_size
        self.backbone = Backbone(options)
        slow, fast = self.backbone.slow_size, self.backbone.fast_size
        widths = {"main": slow + fast, "slow": slow, "fast": fast}
        sizes = [temporal_width(widths[name], hidden, layout) for name in BRANCHES]
        self.dropout = nn.Dropout(options.feature_dropout)
        self.temporal = nn.ModuleDict({name: temporal_conv1d(width, hidden, layout) for name, width in widths.items()})
        self.recurrent = nn.ModuleList(BiLstm(size, dropout=options.dropout) for size in sizes)
        shared, separate = options.share_classifier == "all", options.share_classifier == "none"
        self.classifiers = nn.ModuleList(make_classifier(size, num_classes, normalised=options.weight_norm) for size in (sizes[:1] if shared else sizes))
        self.conv_classifiers = nn.ModuleList(make_classifier(size, num_classes, normalised=options.weight_norm) for size in sizes if separate)

    def forward(self, batch: FrameBatch, *, masked: bool | None = None) -> Heads:
        """Logits of each head: (B, S, V) with S = ⌈T/4⌉.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (always in training). Raises ValueError for frames of another size.
        """
        frames, lengths = network_input(batch, self.options.layout, SCALE, frame_size=self.options.frame_size, dtype=next(self.parameters()).dtype)
        return self.recognise(frames, lengths, masked=not self.training if masked is None else masked)

    def recognise(self, frames_BTCHW: Tensor, lengths_B: Tensor, *, masked: bool, auxiliary: bool | None = None) -> Heads:
        """`forward` on normalised frames that hold their padding; `lengths_B` counts a clip's own.

        auxiliary: the heads of the slow and the fast branch too (default in training only). Raises ValueError for clips too short, and for a
        number of frames that the slow pathway can't divide.
        """
        check_frames(frames_BTCHW, self.options.frame_size)
        steps_B = checked_steps(self.options.layout, lengths_B)
        clips = Clips.of(lengths_B, frames_BTCHW.shape[1], masked=masked)
        for count in clips.counts:
            if count % self.options.alpha:
                raise ValueError(f"{count} frames with padding: the slow pathway needs a multiple of {self.options.alpha}, as conv_type 2 pads to")
        features_BTC = clips.padded(self.dropout(self.backbone(clips.packed(frames_BTCHW), clips)))
        logits: dict[str, Tensor] = {}
        features: dict[str, Tensor] = {}
        for index, (name, part_BTC) in enumerate(self._branches(features_BTC, auxiliary=self.training if auxiliary is None else auxiliary).items()):
            visual_BSD = self.temporal[name](part_BTC.transpose(1, 2)).transpose(1, 2)
            answered = answer(visual_BSD, steps_B, self.recurrent[index], *self._classifiers(index))
            prefix = "" if name == "main" else f"{name}_"
            logits |= {f"{prefix}sequence": answered.sequence, f"{prefix}conv": answered.conv}
            features |= {f"{prefix}sequence": answered.features, f"{prefix}conv": visual_BSD}
        return Heads(logits=logits, lengths=steps_B, features=features)

    def _branches(self, features_BTC: Tensor, *, auxiliary: bool) -> dict[str, Tensor]:
        if not auxiliary:
            return {"main": features_BTC}
        slow, fast = features_BTC.split((self.backbone.slow_size, self.backbone.fast_size), dim=2)
        return {"main": features_BTC, "slow": slow, "fast": fast}

    def _classifiers(self, index: int) -> tuple[nn.Module, nn.Module]:
        """A branch's classifier of the convolution, and of the BiLSTM."""
        own = self.classifiers[index % len(self.classifiers)]
        return (self.conv_classifiers[index] if len(self.conv_classifiers) else own), own
