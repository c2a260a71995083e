"""The memory layout of CorrNet, MSTFNet and SlowFastSign: convolutions see channels-last frames, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.unit.models.vac.tiny import NETWORKS, Frames, clips, tiny

# The sums of its depthwise taps over time are in the plain layout: C/16 channels, which a 1×1 convolution makes C of.
PLAIN = {"corrnet": ("backbone.correlations.2.restore", "backbone.correlations.3.restore", "backbone.correlations.4.restore")}


def channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_see_channels_last_frames(name: str, training: bool) -> None:
    """What comes in, what goes out and the gradient that comes back; clips of unlike lengths are convolved over time one by one."""
    network = tiny(name).train(training)
    seen: dict[str, list[bool]] = {}

    def watch(layer: str) -> None:
        def forward(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            seen.setdefault(layer, []).extend([channels_last(given[0]), channels_last(output)])
            if output.requires_grad:
                output.register_hook(lambda gradient: seen[layer].append(channels_last(gradient)))

        network.get_submodule(layer).register_forward_hook(forward)

    for layer, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and layer not in PLAIN.get(name, ()):
            watch(layer)
    heads = network(Frames(frames=clips([12, 12]), lengths=torch.tensor([12, 12])))
    torch.stack([logits.square().mean() for logits in heads.logits.values()]).sum().backward()
    assert len(seen) > 15
    assert {layer: places for layer, places in seen.items() if not all(places)} == {}
