"""A tiny DSTA-SLR, and skeletons for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.skeleton import LINKS, NUM_JOINTS

OPTIONS = DstaOptions(width=4, depth=3, num_subsets=2, num_edges=3, drop_blocks=1, drop_frames=3)
NUM_CLASSES = 5


def tiny(*, seed: int = 0, options: DstaOptions = OPTIONS) -> DstaSlr:
    """A network with random weights in every entry, statistics of batch norm included."""
    torch.manual_seed(seed)
    network = DstaSlr(options, NUM_CLASSES)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(std=0.2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return network


def clips(count: int, num_frames: int = 12, seed: int = 0) -> Tensor:
    """(B, T, 27, 3), standard normal."""
    return torch.randn(count, num_frames, NUM_JOINTS, 3, generator=torch.Generator().manual_seed(seed))


def signing(count: int, num_frames: int, seed: int = 0) -> NDArray[np.float32]:
    """Skeletons (N, T, 27, 3) in pixels of people who move their arms: each joint hangs on its parent, and limbs swing smoothly."""
    generator = np.random.default_rng(seed)
    place = np.zeros((count, num_frames, NUM_JOINTS, 2))
    place[:, :, 0] = (256, 150) + _wandering(generator, count, num_frames, 2.0) + generator.normal(0, 8, (count, 1, 2))
    for parent, child in _from_the_root():
        swing = 2.0 if child in (1, 2) else 20.0 if child in (3, 4, 5, 6) else 3.0
        rest = generator.normal(0, 25, 2)
        place[:, :, child] = place[:, :, parent] + rest + _wandering(generator, count, num_frames, swing)
    place += generator.normal(0, 1, place.shape)
    confidence = np.clip(0.65 + 0.05 * generator.normal(size=NUM_JOINTS) + 0.1 * generator.normal(size=place.shape[:3]), 0, 1)
    return np.concatenate([place, confidence[..., None]], axis=-1).astype(np.float32)


def _from_the_root() -> list[tuple[int, int]]:
    known, ordered, links = {0}, [], list(LINKS)
    while links:
        parent, child = next(link for link in links if link[0] in known)
        links.remove((parent, child))
        known.add(child)
        ordered.append((parent, child))
    return ordered


def _wandering(generator: np.random.Generator, count: int, num_frames: int, size: float) -> NDArray[np.float64]:
    """(N, T, 2): sines of random rate and phase."""
    times = np.arange(num_frames)[None, :, None]
    rates, phases = generator.uniform(0.05, 0.3, (count, 1, 2)), generator.uniform(0, 6.28, (count, 1, 2))
    return size * np.sin(rates * times + phases)
