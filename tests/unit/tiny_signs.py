"""A network of isolated signs, its classes, clips and bundle that are small enough to make in each test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bundle import Bundle, CorpusCard, save_bundle
from models.class_map import ClassMap
from models.dsta_slr.config import DstaOptions
from models.dsta_slr.inputs import SkeletonInputs
from models.dsta_slr.network import SIGN, DstaSlr
from models.dsta_slr.streams import Stream
from models.inputs.clip import Clip
from models.options import AnswerOptions

OPTIONS = DstaOptions(width=4, depth=2, num_subsets=2, drop_blocks=1, drop_frames=3)
SIGNS = ("BAUM", "HAUS", "MORGEN", "REGEN", "SCHNEE", "SONNE", "WIND")
CLASSES = ClassMap(SIGNS)


def tiny_sign_network(seed: int = 0) -> DstaSlr:
    """A network with random weights; its running statistics too are off their defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DstaSlr(OPTIONS, len(CLASSES))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            elif name.startswith("input_norm") and name.endswith("running_var"):
                buffer.fill_(1e4)  # of pixels
    return network.eval()


def tiny_inputs(stream: Stream = Stream.JOINT) -> SkeletonInputs:
    return SkeletonInputs(stream=stream, window=8, source_frames=None)


def tiny_sign_clip(name: str = "clip", *, num_frames: int = 12, seed: int = 0, num_points: int = 27, **facts: Any) -> Clip:
    """A clip of a random walk of 27 keypoints in a frame of 512 × 512."""
    generator = np.random.default_rng(seed)
    places = np.cumsum(generator.normal(0, 8, (num_frames, num_points, 2)), axis=0) + 256
    keypoints = np.concatenate([places, generator.uniform(0, 1, (num_frames, num_points, 1))], axis=2).astype(np.float32)
    return Clip(**{"name": name, "keypoints": keypoints, "frame_size": (512, 512), "fps": 25.0, **facts})


def save_tiny_sign_bundle(folder: Path, *, seed: int = 0, stream: Stream = Stream.JOINT, **changes: Any) -> Bundle:
    """A bundle of `tiny_sign_network`; `changes` replace arguments of `save_bundle`."""
    arguments: dict[str, Any] = {
        "system": "dsta_slr",
        "options": OPTIONS,
        "inputs": tiny_inputs(stream),
        "state_dict": tiny_sign_network(seed).state_dict(),
        "classes": CLASSES,
        "decoding": AnswerOptions(head=SIGN),
        "corpus": CorpusCard(name="synthetic", licence="generated: free to use"),
        "metrics": {"dev_top1": {SIGN: 50.0}},
        "provenance": {"git.commit": "abc"},
    }
    return save_bundle(folder, **{**arguments, **changes})
