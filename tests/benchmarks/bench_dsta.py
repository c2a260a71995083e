"""A training step of DSTA-SLR, forward and backward, against its naive form: CPU time of one thread, and clips in a second."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from tests.benchmarks.figure import Figure
from tests.benchmarks.naive_dsta import naive_twin
from tests.benchmarks.stack import Bench

SHAPES = {  # name → options, classes, clips, frames
    "published width, 8 clips of 120 frames": (DstaOptions(), 2000, 8, 120),
    "published width, 8 clips of 64 frames": (DstaOptions(), 2000, 8, 64),
    "a quarter of the width, 8 clips of 64 frames": (DstaOptions(width=16), 40, 8, 64),
}
TINY = {"tiny": (DstaOptions(width=4, depth=2, num_subsets=2), 5, 2, 8)}
TARGET = 0.9  # ours / naive
AGREE = 1e-4  # relative difference of the losses
Step = Callable[[], Tensor]


def measure(bench: Bench) -> list[Figure]:
    """Ours over naive: CPU time of a step on one thread."""
    shapes, rounds = (TINY, 2) if bench.quick else (SHAPES, 7)
    return [step_time(name, *shape, rounds=rounds) for name, shape in shapes.items()]


def step_time(name: str, options: DstaOptions, num_classes: int, num_clips: int, num_frames: int, *, rounds: int) -> Figure:
    """The step's figure for one shape. Raises AssertionError where the two forms disagree."""
    ours, naive = steps(options, num_classes, num_clips, num_frames)
    torch.testing.assert_close(ours(), naive(), rtol=AGREE, atol=0.0)
    seconds = [(cpu_seconds(ours), cpu_seconds(naive)) for _ in range(rounds)]
    own, plain = (sorted(times)[rounds // 2] for times in zip(*seconds, strict=True))
    return Figure(
        name=f"DSTA-SLR step, {name}: ours / naive",
        rounds=tuple(fast / slow for fast, slow in seconds),
        at_most=TARGET,
        note=f"{own * 1e3:,.0f} over {plain * 1e3:,.0f} ms of CPU; {num_clips / own:.1f} over {num_clips / plain:.1f} clips/s",
    )


def steps(options: DstaOptions, num_classes: int, num_clips: int, num_frames: int) -> tuple[Step, Step]:
    """Forward, loss and backward of ours and of the naive form, from the same weights."""
    torch.manual_seed(0)
    network = DstaSlr(options, num_classes).train()
    skeletons, labels = torch.randn(num_clips, num_frames, options.num_keypoints, 3), torch.arange(num_clips) % num_classes
    twin, naive_skeletons = naive_twin(network), skeletons.permute(0, 3, 1, 2).contiguous()
    return training_step(network, lambda: network.classify(skeletons), labels), training_step(twin, lambda: twin(naive_skeletons), labels)


def training_step(network: nn.Module, answer: Step, labels: Tensor) -> Step:
    """The optimiser is left out: it is the same for both."""

    def step() -> Tensor:
        network.zero_grad()
        loss = F.cross_entropy(answer(), labels)
        loss.backward()
        return loss.detach()

    return step


def cpu_seconds(step: Step) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began
