"""Validation on dev while training: every head and the ensemble decoded for real, scored by the task's own metric."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from models.inputs.clip import Clip
from models.inputs.inputs import Inputs
from models.systems import System
from workloads.training.batches import batched
from workloads.training.faults import gather
from workloads.training.tasks import Answers, Task


@torch.no_grad()
def recognise(network: nn.Module, clips: Sequence[Clip], system: System, inputs: Inputs, task: Task, *, batch_size: int, device: str) -> Answers:
    """What every head recognises in each clip.

    Every rank makes the same number of forward passes, because ZeRO's stage 3 gathers in each; a rank without clips left repeats its last.
    """
    network.eval()
    answers: Answers = {}
    shared = any(hasattr(parameter, "ds_id") for parameter in network.parameters())
    together = _all_ranks if shared else bool
    by_length = sorted(clips, key=lambda clip: -clip.num_frames)
    batches = list(batched(by_length, batch_size))
    for number in range(max(gather(len(batches)))):
        chosen = batches[min(number, len(batches) - 1)]
        batch = task.with_sources(inputs.evaluation_batch(chosen), chosen)
        heads = network(inputs.on_device(batch.to(device)))
        found = task.answers(batch.names, system.all_logits(heads), heads.lengths)
        texts = task.translations(batch.names, network, heads, together=together)
        answers |= {name: {**answer, **texts.get(name, {})} for name, answer in found.items()}
    return answers


def _all_ranks(finished: bool) -> bool:
    """Whether every rank's sentences are finished: under ZeRO's stage 3 all make the same forward passes."""
    return all(gather(finished))


def merge(parts: Sequence[Answers]) -> Answers:
    """The answers of all ranks."""
    return {name: heads for part in parts for name, heads in part.items()}


def same_statistics(network: nn.Module) -> None:
    """Give every rank the batch norm statistics of rank 0, whose network becomes the checkpoint; every rank must call it.

    Each rank counts its own batches, so they drift apart. Rank 0's, not their mean: its own course then doesn't depend on when they are shared.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return
    buffers = [buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    if not buffers:
        return
    shared = torch.cat([buffer.flatten() for buffer in buffers])
    dist.broadcast(shared, src=0)
    for buffer, values in zip(buffers, shared.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))
