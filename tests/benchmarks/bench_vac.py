"""Forward and backward of CorrNet, MSTFNet and SlowFastSign against their naive forms: CPU time of one thread, and memory at the peak.

Each network runs in a process of its own, with the environment that a training's workers have.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from models.corrnet.config import CorrNetOptions
from models.corrnet.network import CorrNet
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.network import MstfNet
from models.slowfastsign.config import SlowFastOptions
from models.slowfastsign.network import SlowFastSign
from tests.benchmarks.apart import added_memory, apart, memory_figure
from tests.benchmarks.figure import Figure
from tests.benchmarks.naive_vac import naive_twin
from tests.benchmarks.stack import Bench

MODULE = "tests.benchmarks.bench_vac"
NUM_FRAMES = 20  # of one clip, padding included
NUM_CLASSES = 1296
TARGET = 0.9  # ours / naive
AGREE = 1e-4  # relative difference of the losses
NO_DROPOUT = {"dropout": 0.0}  # draws would differ
TOY = {"frame_size": 32, "width": 16, "hidden_size": 16}
BUILD: dict[str, Callable[[dict[str, object]], nn.Module]] = {
    "CorrNet": lambda options: CorrNet(CorrNetOptions.model_validate(NO_DROPOUT | options), NUM_CLASSES),
    "MSTFNet": lambda options: MstfNet(MstfNetOptions.model_validate(NO_DROPOUT | options), NUM_CLASSES),
    "SlowFastSign": lambda options: SlowFastSign(SlowFastOptions.model_validate(NO_DROPOUT | {"feature_dropout": 0.0} | options), NUM_CLASSES),
}
Step = Callable[[], Tensor]


def measure(bench: Bench) -> list[Figure]:
    """Ours over naive of each network: time, and what two steps add to the memory of a process."""
    if bench.quick:
        return [step_time(name, times(name, TOY, rounds=2)) for name in BUILD]
    figures = []
    for name in BUILD:
        figures.append(step_time(name, json.loads(apart(MODULE, "times", name))))
        own, plain = (int(apart(MODULE, way, name)) for way in ("ours", "naive"))
        figures.append(memory_figure(name, own, plain, at_most=1.0))
    return figures


def step_time(name: str, seconds: list[list[float]]) -> Figure:
    """The figure of rounds of [ours, naive]."""
    own, plain = (sorted(side)[len(seconds) // 2] for side in zip(*seconds, strict=True))
    return Figure(
        name=f"{name} forward and backward, {NUM_FRAMES} frames: ours / naive",
        rounds=tuple(fast / slow for fast, slow in seconds),
        at_most=TARGET,
        note=f"{own:.2f} over {plain:.2f} s of CPU",
    )


def times(name: str, options: dict[str, object], *, rounds: int) -> list[list[float]]:
    """CPU seconds of [ours, naive] by round. Raises AssertionError where the two disagree."""
    ours, naive = steps(name, options)
    torch.testing.assert_close(ours(), naive(), rtol=AGREE, atol=0.0)
    return [[cpu_seconds(ours), cpu_seconds(naive)] for _ in range(rounds)]


def steps(name: str, options: dict[str, object]) -> tuple[Step, Step]:
    """Forward, a sum over all heads and backward of ours and of the naive form, from the same weights."""
    torch.manual_seed(0)
    network = BUILD[name](options).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert isinstance(network, CorrNet | MstfNet | SlowFastSign)
    size = network.options.frame_size
    frames, lengths = torch.rand(1, NUM_FRAMES, 3, size, size) * 2 - 1, torch.tensor([NUM_FRAMES])
    twin = naive_twin(network)
    return training_step(network, lambda: network.recognise(frames, lengths, masked=False).logits), training_step(twin, lambda: twin(frames, lengths))


def training_step(network: nn.Module, answer: Callable[[], object]) -> Step:
    """Losses and optimiser are left out: they are the same for both."""

    def step() -> Tensor:
        network.zero_grad()
        logits = answer()
        assert isinstance(logits, dict)
        loss = torch.stack([value.square().mean() for value in logits.values()]).sum()
        loss.backward()
        return loss.detach()

    return step


def cpu_seconds(step: Step) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, network_name = sys.argv[1:]
    if task == "times":
        print(json.dumps(times(network_name, {}, rounds=5)))
    else:
        print(added_memory(steps(network_name, {})[("ours", "naive").index(task)]))
