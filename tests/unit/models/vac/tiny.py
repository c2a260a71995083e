"""The three networks at toy widths, on frames of 32 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.corrnet.config import CorrNetOptions
from models.corrnet.network import CorrNet
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.network import MstfNet
from models.slowfastsign.config import SlowFastOptions
from models.slowfastsign.network import SlowFastSign

NUM_CLASSES = 7
SIZE = 32
NETWORKS = ("corrnet", "mstfnet", "slowfastsign")
Network = CorrNet | MstfNet | SlowFastSign


@dataclass(frozen=True)
class Frames:
    """What the networks read of a batch."""

    frames: Tensor | None
    lengths: Tensor


def tiny(name: str, *, seed: int = 0, **options: object) -> Network:
    """A network whose residual weights, which start at 0, are drawn, and without dropout."""
    torch.manual_seed(seed)
    common = {"frame_size": SIZE, "hidden_size": 24, "dropout": 0.0}
    network: Network
    if name == "corrnet":
        network = CorrNet(CorrNetOptions.model_validate({**common, "width": 16} | options), NUM_CLASSES)
    elif name == "mstfnet":
        network = MstfNet(MstfNetOptions.model_validate({**common, "width": 16, "depth": 18, "level_size": 20} | options), NUM_CLASSES)
    else:
        network = SlowFastSign(SlowFastOptions.model_validate({**common, "width": 16, "depth": 50, "feature_dropout": 0.0} | options), NUM_CLASSES)
    draw(network)
    return network


@torch.no_grad()
def draw(network: nn.Module) -> None:
    """Values for what starts at 0 or 1, so that every path counts; no dropout."""
    for parameter in network.parameters():
        if parameter.dim() <= 1 or not parameter.any():
            parameter.add_(0.2 * torch.randn_like(parameter))
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def clips(lengths: list[int], *, seed: int = 0) -> Tensor:
    """Frames (B, T, 3, H, W) uint8; beyond a clip's length there is rubbish, as nobody may look there."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (len(lengths), max(lengths), 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
