"""TwoStream-SLR: two S3D trunks that exchange features, a pyramid on each, seven heads (Chen et al. 2022b; twostream.md, section 9)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads, valid_steps
from models.heads.visual_head import VisualHead
from models.s3d.layers import Ends
from models.s3d.network import S3d
from models.twostream.config import FEATURE_BLOCKS, STEP_FRAMES, TwoStreamOptions
from models.twostream.heads import StreamHeads
from models.twostream.layers import Exchange, Pyramid, pooled
from models.twostream.steps import as_extracted, check_input, clip_ends, frames_of, maps_of, reads_alone, step_counts

HEADS = ("rgb", "keypoint", "fuse")
STREAMS = ("rgb", "keypoint")
AUXILIARY_HEADS = ("rgb_aux_0", "rgb_aux_1", "keypoint_aux_0", "keypoint_aux_1")
SIDE_MULTIPLE = 32  # of the pictures' height and width: both streams halve theirs evenly


class TwoStream(nn.Module):
    """Pictures and heatmaps → gloss logits of the heads `rgb`, `keypoint`, `fuse`, and of four auxiliary heads that teach.

    auxiliary: these four, and the pyramids that they read, exist; a translator's recogniser is without.
    """

    modalities = ("frames", "keypoints")

    def __init__(self, options: TwoStreamOptions, num_classes: int, *, auxiliary: bool = True) -> None:
        super().__init__()
        self.options, self.num_classes, self.auxiliary = options, num_classes, auxiliary
        channels = options.rgb.block_channels
        self.trunks = nn.ModuleDict({name: S3d(trunk) for name, trunk in options.trunks.items()})
        told = {"keypoint_to_rgb": options.keypoint_to_rgb, "rgb_to_keypoint": options.rgb_to_keypoint}
        self.exchanges = nn.ModuleDict({str(block): Exchange(channels[block - 1], **told) for block in options.lateral_blocks})
        self.pyramids = nn.ModuleDict({name: Pyramid((channels[1], channels[2], channels[3])) for name in STREAMS} if auxiliary else {})
        widths = {"rgb": channels[3], "keypoint": channels[3], "fuse": 2 * channels[3]}
        widths |= {name: channels[1 + int(name[-1])] for name in AUXILIARY_HEADS} if auxiliary else {}
        self.heads = nn.ModuleDict({name: VisualHead(width, num_classes, **options.head.model_dump()) for name, width in widths.items()})

    def forward(self, batch: Batch, *, masked: bool | None = None) -> StreamHeads:
        """`recognise` on a batch's frames and heatmaps."""
        return self.recognise(frames_of(batch), maps_of(batch), batch.lengths, masked=masked)

    def answer(self, inputs: Mapping[str, Tensor], steps_B: Tensor) -> StreamHeads:
        """Heads of features that a network with the same trunks has extracted (`StreamHeads.inputs`), each clip's alone: evaluation form."""
        main = self._answers(inputs, steps_B, masked=True)
        return StreamHeads(logits=main.logits, lengths=steps_B, features=main.features, inputs=inputs)

    def recognise(
        self, rgb_BCTHW: Tensor, keypoint_BCTHW: Tensor, lengths_B: Tensor, *, masked: bool | None = None, auxiliary: bool | None = None
    ) -> StreamHeads:
        """Pictures (B, 3, T, H, W) and heatmaps (B, K, T, H/2, W/2) in [−1, 1] → logits (B, S, V) with S = T/4.

        masked: a clip's answer is that of the published form at batch size 1, whatever its batch mates (default in evaluation); False is the
        published form, where padding counts as signing (default in training). Trunks that are frozen while heads learn read each clip alone: their
        features are those that the published programs extract. auxiliary: the heads of the pyramid's lower levels answer too (default in training,
        where they exist); the others don't need the pyramid. Lengths are multiples of 4. Raises ValueError for sizes that don't fit.
        """
        self._check(rgb_BCTHW, keypoint_BCTHW)
        T = rgb_BCTHW.shape[2]
        ends = clip_ends(lengths_B, T, masked=reads_alone(self.trunks, masked))
        padded, alone = ends.lengths is not None, not self.training if masked is None else masked
        blocks, block_ends = self._blocks({"rgb": rgb_BCTHW, "keypoint": keypoint_BCTHW}, ends)
        inputs = {name: pooled(features[-1]) for name, features in blocks.items()}
        order = STREAMS if self.options.rgb_first else STREAMS[::-1]
        inputs["fuse"] = torch.cat([inputs[name] for name in order], dim=2)
        steps_B = step_counts(lengths_B, T, inputs["fuse"].shape[1], block_ends[-1])
        if padded and not alone:
            valid = valid_steps(steps_B, inputs["fuse"].shape[1])
            inputs = {name: as_extracted(x_BSD, valid) for name, x_BSD in inputs.items()}
        main = self._answers(inputs, steps_B, masked=padded and alone)
        taught = None
        if self.auxiliary and self.training if auxiliary is None else auxiliary:
            levels = self._levels(blocks, block_ends)
            taught = self._answers(levels, step_counts(lengths_B, T, levels["rgb_aux_0"].shape[1], block_ends[-2]), masked=padded and alone)
        return StreamHeads(logits=main.logits, lengths=main.lengths, features=main.features, inputs=inputs, auxiliary=taught)

    def _blocks(self, x: dict[str, Tensor], ends: Ends) -> tuple[dict[str, list[Tensor]], list[Ends]]:
        """Features of blocks 1 to 4 of each stream, after each exchange, and where their clips end."""
        blocks: dict[str, list[Tensor]] = {name: [] for name in STREAMS}
        block_ends: list[Ends] = []
        for block in range(1, FEATURE_BLOCKS + 1):
            after = ends
            for name in STREAMS:
                trunk = self.trunks[name]
                assert isinstance(trunk, S3d)
                x[name], after = trunk.block(block, x[name], ends)
            ends = after
            if str(block) in self.exchanges:
                x["rgb"], x["keypoint"] = self.exchanges[str(block)](x["rgb"], x["keypoint"], ends)
            block_ends.append(ends)
            for name in STREAMS:
                blocks[name].append(x[name])
        return blocks, block_ends

    def _levels(self, blocks: dict[str, list[Tensor]], block_ends: list[Ends]) -> dict[str, Tensor]:
        """What each auxiliary head reads."""
        levels: dict[str, Tensor] = {}
        for name in STREAMS:
            level0, level1 = self.pyramids[name](*blocks[name][1:], (block_ends[2], block_ends[3]))
            levels |= {f"{name}_aux_0": level0, f"{name}_aux_1": level1}
        return levels

    def _answers(self, inputs: Mapping[str, Tensor], steps_B: Tensor, *, masked: bool) -> Heads:
        valid = valid_steps(steps_B, next(iter(inputs.values())).shape[1])
        answers = {name: self.heads[name](x_BSD, valid, masked=masked) for name, x_BSD in inputs.items()}
        return Heads(
            logits={name: logits for name, (logits, _) in answers.items()}, lengths=steps_B, features={name: feature for name, (_, feature) in answers.items()}
        )

    def _check(self, rgb: Tensor, keypoint: Tensor) -> None:
        check_input("rgb", rgb, self.options.rgb.in_channels)
        check_input("keypoint", keypoint, self.options.keypoint.in_channels)
        height, width = rgb.shape[3:]
        if height % SIDE_MULTIPLE or width % SIDE_MULTIPLE:
            raise ValueError(f"pictures of {height}×{width}: height and width must be multiples of {SIDE_MULTIPLE}")
        expected = (rgb.shape[0], rgb.shape[2], height // 2, width // 2)
        if (keypoint.shape[0], *keypoint.shape[2:]) != expected:
            found = (keypoint.shape[0], *keypoint.shape[2:])
            raise ValueError(f"heatmaps for {found} clips, frames, rows and columns: {expected} go with these pictures, half their height and width")
        if rgb.shape[2] % STEP_FRAMES:
            raise ValueError(f"clips of {rgb.shape[2]} frames: a multiple of {STEP_FRAMES} is needed")
