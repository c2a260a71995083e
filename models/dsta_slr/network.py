"""DSTA-SLR: one stream of skeletons → class logits (Hu et al. 2024; dsta_slr.md, sections 3 and 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads
from models.dsta_slr.config import BlockShape, DstaOptions
from models.dsta_slr.drop import dropped
from models.dsta_slr.layers import Gates, Norm, Shortcut, SpatialModule, TemporalLayer
from models.dsta_slr.skeleton import adjacency

SIGN = "sign"
HEADS = (SIGN,)


class Block(nn.Module):
    """Spatial module, gates, three temporal layers, residual; drop modules behind each temporal layer and the residual."""

    def __init__(self, shape: BlockShape, options: DstaOptions, *, drops: bool) -> None:
        super().__init__()
        sizes = {"num_joints": options.num_keypoints, "num_subsets": options.num_subsets, "num_edges": options.num_edges}
        width, out = shape.width, shape.out_channels
        self.drops, self.drop_frames, self.keep = drops, options.drop_frames, 1.0
        self.spatial = SpatialModule(shape, mlp_ratio=options.mlp_ratio, **sizes)
        self.gates = Gates(width, num_joints=options.num_keypoints, time_kernel=options.time_gate_kernel)
        strides = ((width, 1), (out, 1), (out, shape.stride))
        self.temporal = nn.ModuleList(TemporalLayer(channels, out, kernels=options.temporal_kernels, stride=stride) for channels, stride in strides)
        self.shortcut = None if shape.stride == 1 else Shortcut(shape.in_channels, out, stride=shape.stride)
        self.adjacency: Tensor
        self.register_buffer("adjacency", adjacency())

    def forward(self, x_TBJC: Tensor) -> Tensor:
        """(T, B, J, C) → (T/stride, B, J, O)."""
        y = self.gates(self.spatial(x_TBJC))
        for layer in self.temporal:
            y = self._dropped(layer(y), num_groups=2)
        return torch.relu(y if self.shortcut is None else y + self._dropped(self.shortcut(x_TBJC), num_groups=1))

    def _dropped(self, x_TBJC: Tensor, *, num_groups: int) -> Tensor:
        if not (self.training and self.drops):
            return x_TBJC
        return dropped(x_TBJC, self.adjacency, keep=self.keep, drop_frames=self.drop_frames, num_groups=num_groups)


class DstaSlr(nn.Module):
    """Skeletons of one stream → class logits."""

    modalities = ("keypoints",)

    def __init__(self, options: DstaOptions, num_classes: int) -> None:
        super().__init__()
        self.options, self.num_classes, self.keep_probability = options, num_classes, 1.0
        self.input_norm = Norm(options.num_keypoints * 3)
        first = options.depth - options.drop_blocks
        self.blocks = nn.ModuleList(Block(shape, options, drops=index >= first) for index, shape in enumerate(options.blocks))
        self.classifier = nn.Linear(options.blocks[-1].out_channels, num_classes)
        nn.init.normal_(self.classifier.weight, 0, math.sqrt(2 / num_classes))

    def set_keep_probability(self, keep: float) -> None:
        """What the drop modules keep in training from now on; 1, as built, switches them off."""
        if not 0 < keep <= 1:
            raise ValueError(f"keep probability {keep} is not in (0, 1]")
        self.keep_probability = keep
        for block in self.blocks:
            assert isinstance(block, Block)
            block.keep = keep

    def begin_epoch(self, epoch: int) -> None:
        """The drop modules' schedule: epoch `epoch` of training begins, from 0 (dsta_slr.md, section 5)."""
        self.set_keep_probability(1 - min(self.options.drop_per_epoch * epoch, self.options.drop_most))

    def forward(self, batch: Batch) -> Heads:
        """Class logits (B, V) as the head `sign`, from batches of `SkeletonInputs`."""
        features_BD = self.features(batch.keypoints)
        logits_BV = self.classifier(features_BD)
        steps = torch.ones(len(features_BD), dtype=torch.long, device=features_BD.device)
        return Heads(logits={SIGN: logits_BV}, lengths=steps, features={SIGN: features_BD})

    def classify(self, skeletons_BTKC: Tensor) -> Tensor:
        """Class logits (B, V) of skeletons (B, T, K, 3) as `models.dsta_slr.streams` makes them. Raises ValueError for another layout."""
        logits_BV: Tensor = self.classifier(self.features(skeletons_BTKC))
        return logits_BV

    def features(self, skeletons_BTKC: Tensor) -> Tensor:
        """The classifier's input (B, D): the mean over time and joints."""
        B, T, K, C = skeletons_BTKC.shape
        if (self.options.num_keypoints, 3) != (K, C):
            raise ValueError(f"skeletons of {K} joints × {C} channels: this network reads {self.options.num_keypoints} × 3")
        if not (B and T):
            raise ValueError(f"skeletons {tuple(skeletons_BTKC.shape)} hold no frame")
        x_TBJC = skeletons_BTKC.to(self.classifier.weight.dtype).transpose(0, 1)
        x_TBJC = self.input_norm(x_TBJC.flatten(2)).view(T, B, K, C)
        for block in self.blocks:
            x_TBJC = block(x_TBJC)
        pooled_BD: Tensor = x_TBJC.mean((0, 2))
        return pooled_BD
