"""A training step of S3D and of TwoStream-SLR against their naive forms: CPU time on one thread."""

from __future__ import annotations

import time
from collections.abc import Callable

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
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench

NUM_CLASSES = 64
GOAL = 0.9
Step = Callable[[], Tensor]


def measure(bench: Bench) -> list[Figure]:
    """Ours over naive, for the RGB trunk, the keypoint trunk and TwoStream-SLR with all its losses; the outputs agree."""
    width, side, rounds = (1 / 16, 64, 2) if bench.quick else (1.0, 128, 5)
    trunks = {"S3D, RGB": S3dOptions(width=width), "S3D, heatmaps": KEYPOINT_TRUNK.model_copy(update={"width": width})}
    frames = 16 if bench.quick else 32
    figures = [compared(f"{name}, a clip of {frames}×{side}×{side}", *trunk_steps(options, frames, side), rounds) for name, options in trunks.items()]
    both = TwoStreamOptions(rgb=trunks["S3D, RGB"], keypoint=trunks["S3D, heatmaps"], head=HeadOptions(dropout=0.0))
    return [*figures, compared(f"TwoStream-SLR, a clip of {frames}×{side}×{side}", *two_stream_steps(both, frames, side), rounds)]


def compared(name: str, ours: Step, naive: Step, rounds: int) -> Figure:
    """Ours over naive; raises AssertionError where their results differ."""
    torch.testing.assert_close(ours(), naive(), rtol=1e-3, atol=1e-4)
    seconds = [(cpu_seconds(ours), cpu_seconds(naive)) for _ in range(rounds)]
    fast, slow = (sorted(side)[rounds // 2] for side in zip(*seconds, strict=True))
    ratios = tuple(own_time / naive_time for own_time, naive_time in seconds)
    return Figure(name=f"{name}: ours / naive", rounds=ratios, note=f"{fast * 1e3:,.0f} over {slow * 1e3:,.0f} ms of CPU", at_most=GOAL)


def trunk_steps(options: S3dOptions, num_frames: int, side: int) -> tuple[Step, Step]:
    """Forward and backward of ours and of the naive form, from the same weights, in training mode."""
    torch.manual_seed(0)
    trunk = S3d(options).train()
    twin = naive_s3d.naive_twin(trunk)
    clip = torch.rand(1, options.in_channels, num_frames, side, side) * 2 - 1
    return trained(trunk, lambda: trunk(clip)[0].square().mean()), trained(twin, lambda: twin(clip)[-1].square().mean())


def two_stream_steps(options: TwoStreamOptions, num_frames: int, side: int) -> tuple[Step, Step]:
    """As `trunk_steps`, with all heads and losses."""
    torch.manual_seed(0)
    network = TwoStream(options, NUM_CLASSES).train()
    twin = naive_twostream.naive_two_stream(network)
    rgb = torch.rand(1, 3, num_frames, side, side) * 2 - 1
    maps = torch.rand(1, options.keypoint.in_channels, num_frames, side // 2, side // 2) * 2 - 1
    lengths = torch.tensor([num_frames])

    def own() -> Tensor:
        heads = network.recognise(rgb, maps, lengths)
        return total(heads, heads.auxiliary)

    def naive() -> Tensor:
        logits = twin(rgb, maps, lengths)
        main, auxiliary = ({name: logits[name] for name in names} for names in (HEADS, AUXILIARY_HEADS))
        return total(Heads(logits=main, lengths=lengths // 4), Heads(logits=auxiliary, lengths=lengths // 2))

    return trained(network, own), trained(twin, naive)


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
