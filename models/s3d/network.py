"""The S3D trunk of the TwoStream systems (Xie et al. 2018; twostream.md, section 6)."""

from __future__ import annotations

from torch import Tensor, nn

from models.s3d.config import BLOCK_ENDS, S3dOptions
from models.s3d.layers import NO_ENDS, Ends, MaxPool, Mixed, PointConv, SeparableConv, relaid


class S3d(nn.Module):
    """(B, C, T, H, W) → features (B, D, T', H', W'): after four blocks T' = T/4 and H' = H/16."""

    def __init__(self, options: S3dOptions) -> None:
        super().__init__()
        self.options = options
        self.layers = nn.ModuleList(_layers(options)[: options.num_layers])
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = options.norm_momentum
        for layer in self.frozen:
            layer.requires_grad_(False)
        self.train()

    @property
    def frozen(self) -> list[nn.Module]:
        """The layers whose weights get no gradient."""
        return list(self.layers[: self.options.frozen_layers])

    def train(self, mode: bool = True) -> S3d:
        """As every module's, but frozen layers keep their statistics (`frozen_statistics`)."""
        super().train(mode)
        if self.options.frozen_statistics:
            for layer in self.frozen:
                layer.eval()
        return self

    def forward(self, x_BCTHW: Tensor, ends: Ends = NO_ENDS) -> tuple[Tensor, Ends]:
        """Features of the last block, and where their clips end."""
        for block in range(1, self.options.num_blocks + 1):
            x_BCTHW, ends = self.block(block, x_BCTHW, ends)
        return x_BCTHW, ends

    def block(self, block: int, x_BCTHW: Tensor, ends: Ends = NO_ENDS) -> tuple[Tensor, Ends]:
        """Block 1 to 5 alone: output of the block before it (the clip for block 1) → its own output."""
        first = BLOCK_ENDS[block - 2] + 1 if block > 1 else 0
        entry = self.layers[first]
        if not (isinstance(entry, SeparableConv) and entry.spatial.reads_plain(x_BCTHW)):
            x_BCTHW = relaid(x_BCTHW)
        for layer in self.layers[first : BLOCK_ENDS[block - 1] + 1]:
            x_BCTHW, ends = _applied(layer, x_BCTHW, ends)
        return relaid(x_BCTHW), ends


def _applied(layer: nn.Module, x_BCTHW: Tensor, ends: Ends) -> tuple[Tensor, Ends]:
    if isinstance(layer, PointConv):
        return layer(x_BCTHW), ends
    if isinstance(layer, MaxPool):
        return layer(x_BCTHW, ends), layer.ends(ends)
    after = layer.temporal.ends(ends) if isinstance(layer, SeparableConv) else ends
    return layer(x_BCTHW, ends), after


def _layers(options: S3dOptions) -> list[nn.Module]:
    """The sixteen layers of the published table."""
    stem, stride = options.stem, options.last_stride
    mixed = [Mixed(shape) for shape in options.mixed]
    space = [MaxPool((1, 3), stride=(1, 2), padding=(0, 1)) for _ in range(2)]
    return [
        SeparableConv(options.in_channels, stem[0], 7, stride=2),
        space[0],
        PointConv(stem[0], stem[1]),
        SeparableConv(stem[1], stem[2], 3),
        space[1],
        *mixed[:2],
        MaxPool((3, 3), stride=(2, 2), padding=(1, 1)),
        *mixed[2:7],
        MaxPool((2, 2), stride=(stride, 2), padding=(2 - stride, 0)),
        *mixed[7:],
    ]
