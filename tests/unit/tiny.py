"""A network, vocabulary, clips and bundle that are small enough to make in each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bundle import Bundle, CorpusCard, DecodingOptions, save_bundle
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import Mska
from models.vocabulary import SPECIALS, Vocabulary

OPTIONS = MskaOptions(blocks=(BlockShape(4, 4, 2, 3, 2), BlockShape(4, 8, 2, 3, 2)), num_subsets=2, head=HeadOptions(hidden_size=8, ff_size=16))
GLOSSES = ("HAUS", "MORGEN", "REGEN", "SONNE")
VOCABULARY = Vocabulary(entries=(*SPECIALS, *GLOSSES))


def tiny_network(seed: int = 0, *, scale: float = 1.0) -> Mska:
    """A network with random weights; its running statistics too are off their defaults. `scale` makes its answers sure."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Mska(OPTIONS, len(VOCABULARY))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name.endswith("classifier.weight"):
                    parameter.mul_(scale)
    return network.eval()


def tiny_clip(name: str = "clip", *, num_frames: int = 24, seed: int = 0, **facts: Any) -> Clip:
    """A clip of a random walk of 133 keypoints in a frame of 200 × 100."""
    generator = np.random.default_rng(seed)
    places = np.cumsum(generator.normal(0, 4, (num_frames, 133, 2)), axis=0) + (100, 50)
    keypoints = np.concatenate([places, generator.uniform(0, 1, (num_frames, 133, 1))], axis=2).astype(np.float32)
    return Clip(**{"name": name, "keypoints": keypoints, "frame_size": (200, 100), "fps": 25.0, **facts})


def save_tiny_bundle(folder: Path, network: Mska | None = None, **changes: Any) -> Bundle:
    """A bundle of `network`; `changes` replace arguments of `save_bundle`."""
    arguments: dict[str, Any] = {
        "system": "mska_slr",
        "options": OPTIONS,
        "inputs": KeypointInputs(),
        "state_dict": (network or tiny_network()).state_dict(),
        "classes": VOCABULARY,
        "decoding": DecodingOptions(),
        "corpus": CorpusCard(name="synthetic", licence="generated: free to use"),
        "metrics": {"dev": {"wer": {"ensemble": 12.5, "fuse": float("nan")}}},
        "provenance": {"git.commit": "abc"},
        "recipe": {"recipe": "demo", "optim": {"lr": 0.001}},
    }
    return save_bundle(folder, **{**arguments, **changes})
