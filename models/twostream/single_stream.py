"""SingleStream-SLR: S3D over pictures or heatmaps, and one head (Chen et al. 2022a; twostream.md, sections 6 to 8)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.batch import Batch, valid_steps
from models.heads.visual_head import VisualHead
from models.s3d.network import S3d
from models.twostream.config import SingleStreamOptions
from models.twostream.heads import StreamHeads
from models.twostream.layers import pooled
from models.twostream.steps import as_extracted, check_input, clip_ends, frames_of, maps_of, reads_alone, step_counts

HEAD = "gloss"


class SingleStream(nn.Module):
    """Pictures or heatmaps → gloss logits of one head, named as the stream."""

    def __init__(self, options: SingleStreamOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes = options, num_classes
        self.modalities = ("frames",) if options.stream == "rgb" else ("keypoints",)
        self.trunk = S3d(options.trunk)
        self.head = VisualHead(options.trunk.out_channels, num_classes, **options.head.model_dump())

    def forward(self, batch: Batch, *, masked: bool | None = None) -> StreamHeads:
        """`recognise` on what the stream reads of a batch; its head is called `gloss`, whichever stream this is."""
        x_BCTHW = frames_of(batch) if self.options.stream == "rgb" else maps_of(batch)
        heads, stream = self.recognise(x_BCTHW, batch.lengths, masked=masked), self.options.stream
        return StreamHeads(
            logits={HEAD: heads.logits[stream]}, lengths=heads.lengths, features={HEAD: heads.features[stream]}, inputs={HEAD: heads.inputs[stream]}
        )

    def answer(self, inputs: Mapping[str, Tensor], steps_B: Tensor) -> StreamHeads:
        """Heads of features that a network with the same trunk has extracted (`StreamHeads.inputs`), each clip's alone: evaluation form."""
        logits, feature = self.head(inputs[HEAD], valid_steps(steps_B, inputs[HEAD].shape[1]), masked=True)
        return StreamHeads(logits={HEAD: logits}, lengths=steps_B, features={HEAD: feature}, inputs=inputs)

    def recognise(self, x_BCTHW: Tensor, lengths_B: Tensor, *, masked: bool | None = None) -> StreamHeads:
        """Stream inputs (B, C, T, H, W) in [−1, 1] → logits (B, S, V) with S = T/4, and what the head reads.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (default in training). A trunk that is frozen while the head learns reads each clip alone:
        its features are those that the published programs extract. Raises ValueError for another number of channels.
        """
        name, T = self.options.stream, x_BCTHW.shape[2]
        check_input(name, x_BCTHW, self.options.trunk.in_channels)
        ends = clip_ends(lengths_B, T, masked=reads_alone(self.trunk, masked))
        features, ends_out = self.trunk(x_BCTHW, ends)
        inputs_BSD = pooled(features)
        steps = step_counts(lengths_B, T, features.shape[2], ends_out)
        valid, padded, alone = valid_steps(steps, inputs_BSD.shape[1]), ends.lengths is not None, not self.training if masked is None else masked
        if padded and not alone:
            inputs_BSD = as_extracted(inputs_BSD, valid)
        logits, feature = self.head(inputs_BSD, valid, masked=padded and alone)
        return StreamHeads(logits={name: logits}, lengths=steps, features={name: feature}, inputs={name: inputs_BSD})
