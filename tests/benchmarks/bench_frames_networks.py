"""A training step of S3D and of TwoStream-SLR against their naive forms: CPU time of one thread, and memory at the peak.

Each network runs in a process of its own, with the environment that a training's workers have. Each form reads clips in the layout in which they come to it:
heatmaps are plain for both on a CPU (models/inputs/heatmaps.py).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.batch import Heads
from models.losses.auxiliary import TwoStreamLossOptions, two_stream_losses
from models.mska.config import HeadOptions
from models.s3d.config import S3dOptions
from models.s3d.network import S3d
from models.twostream.config import KEYPOINT_TRUNK, TwoStreamOptions
from models.twostream.network import AUXILIARY_HEADS, HEADS, TwoStream
from tests.benchmarks import naive_s3d, naive_twostream
from tests.benchmarks.apart import added_memory, apart, memory_figure
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench

NUM_CLASSES = 64
GOAL = 0.9
COLOURS = 3
MODULE = "tests.benchmarks.bench_frames_networks"
NETWORKS = RGB, MAPS, TWO_STREAM = ("S3D, RGB", "S3D, heatmaps", "TwoStream-SLR")
WAYS = ("ours", "naive")
Step = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Size:
    """width: share of the published channels."""

    width: float
    frames: int
    side: int
    rounds: int


FULL, QUICK = Size(width=1.0, frames=32, side=128, rounds=5), Size(width=1 / 16, frames=16, side=64, rounds=2)


def measure(bench: Bench) -> list[Figure]:
    """Ours over naive, for the RGB trunk, the keypoint trunk and TwoStream-SLR with all its losses; the outputs agree."""
    if bench.quick:
        return [figure(name, QUICK, times(name, QUICK)) for name in NETWORKS]
    figures = []
    for name in NETWORKS:
        figures.append(figure(name, FULL, json.loads(apart(MODULE, "times", name))))
        figures.append(memory_figure(name, *(int(apart(MODULE, way, name)) for way in WAYS)))
    return figures


def figure(name: str, size: Size, seconds: list[list[float]]) -> Figure:
    """The figure of rounds of [ours, naive]."""
    fast, slow = (sorted(side)[size.rounds // 2] for side in zip(*seconds, strict=True))
    ratios = tuple(own_time / naive_time for own_time, naive_time in seconds)
    what = f"{name}, a clip of {size.frames}×{size.side}×{size.side}: ours / naive"
    return Figure(name=what, rounds=ratios, note=f"{fast * 1e3:,.0f} over {slow * 1e3:,.0f} ms of CPU", at_most=GOAL)


def times(name: str, size: Size) -> list[list[float]]:
    """CPU seconds of [ours, naive] by round. Raises AssertionError where the two disagree."""
    ours, naive = steps(name, size)
    torch.testing.assert_close(ours(), naive(), rtol=1e-3, atol=1e-4)
    return [[cpu_seconds(ours), cpu_seconds(naive)] for _ in range(size.rounds)]


def steps(name: str, size: Size) -> tuple[Step, Step]:
    rgb, maps = S3dOptions(width=size.width), KEYPOINT_TRUNK.model_copy(update={"width": size.width})
    if name == TWO_STREAM:
        return two_stream_steps(TwoStreamOptions(rgb=rgb, keypoint=maps, head=HeadOptions(dropout=0.0)), size.frames, size.side)
    return trunk_steps(rgb if name == RGB else maps, size.frames, size.side)


def trunk_steps(options: S3dOptions, num_frames: int, side: int) -> tuple[Step, Step]:
    """Forward and backward of ours and of the naive form, from the same weights, in training mode."""
    torch.manual_seed(0)
    trunk = S3d(options).train()
    twin = naive_s3d.naive_twin(trunk)
    clip = torch.rand(1, options.in_channels, num_frames, side, side) * 2 - 1
    own = as_made(clip) if options.in_channels > COLOURS else clip
    return trained(trunk, lambda: trunk(own)[0].square().mean()), trained(twin, lambda: twin(clip)[-1].square().mean())


def two_stream_steps(options: TwoStreamOptions, num_frames: int, side: int) -> tuple[Step, Step]:
    """As `trunk_steps`, with all heads and losses."""
    torch.manual_seed(0)
    network = TwoStream(options, NUM_CLASSES).train()
    twin = naive_twostream.naive_two_stream(network)
    rgb = torch.rand(1, 3, num_frames, side, side) * 2 - 1
    maps = torch.rand(1, options.keypoint.in_channels, num_frames, side // 2, side // 2) * 2 - 1
    own_maps = as_made(maps)
    lengths = torch.tensor([num_frames])

    def own() -> Tensor:
        heads = network.recognise(rgb, own_maps, lengths)
        return total(heads, heads.auxiliary)

    def naive() -> Tensor:
        logits = twin(rgb, maps, lengths)
        main, auxiliary = ({name: logits[name] for name in names} for names in (HEADS, AUXILIARY_HEADS))
        return total(Heads(logits=main, lengths=lengths // 4), Heads(logits=auxiliary, lengths=lengths // 2))

    return trained(network, own), trained(twin, naive)


def as_made(maps_BKTHW: Tensor) -> Tensor:
    """Heatmaps as ours makes them on a CPU."""
    return maps_BKTHW.contiguous()


def total(heads: Heads, auxiliary: Heads | None) -> Tensor:
    terms = two_stream_losses(heads, auxiliary, torch.tensor([[4, 5]]), torch.tensor([2]), TwoStreamLossOptions())
    return torch.stack(list(terms.values())).sum()


def trained(network: torch.nn.Module, loss: Step) -> Step:
    """Forward and backward; gives the loss."""

    def step() -> Tensor:
        network.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return step


def cpu_seconds(step: Step) -> float:
    began = time.process_time()
    step()
    return time.process_time() - began


if __name__ == "__main__":
    torch.set_num_threads(1)
    task, network_name = sys.argv[1:]
    print(json.dumps(times(network_name, FULL)) if task == "times" else added_memory(steps(network_name, FULL)[WAYS.index(task)]))
