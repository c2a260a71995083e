"""Measuring a recipe before it runs: what a forward keeps for its backward at the longest clip, and how long a step takes.

It works for every system, because it asks the recipe's own inputs for batches and looks only at what autograd saves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import Batch
from models.inputs.clip import Clip
from models.recomputation import blocks, recompute
from models.systems import SYSTEMS
from workloads.recipe import Recipe
from workloads.shards import IndexRow, ShardSet
from workloads.training.batches import FRAMES, generator
from workloads.training.footprint import Measured
from workloads.training.optim import freeze, make_optimizer, training_mode
from workloads.training.tally import Tally, refuse
from workloads.training.tasks import Task

DRAWS = 64  # of a clip's training length, whose largest counts
PROBE_S = 6.0  # of steps, after the first
HALF: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of one optimiser step on average clips, and of evaluating one clip, in one process. own_share: of the time, how much it had its cores."""

    own_share: float
    step_s: float
    evaluation_clip_s: float


class Probe:
    """A recipe's network with its loss in this process, and batches as training makes them."""

    def __init__(self, recipe: Recipe, shards: ShardSet, task: Task, device: str) -> None:
        self.recipe, self.shards, self.task, self.device = recipe, shards, task, device
        self.system = SYSTEMS[recipe.system]
        torch.manual_seed(recipe.seed)
        self.network: nn.Module = self.system.build(recipe.network, len(task.classes)).to(device)
        freeze(self.network, recipe.optim.frozen)
        self.loss = self.system.make_loss(recipe.losses, task.class_counts)
        self.index = sorted(shards.index(recipe.data.train_split), key=lambda row: row.n_frames)

    def measure(self) -> Measured:
        """Sizes. Runs a forward at the longest clip without keeping what it would save."""
        parameters = list(self.network.parameters())
        longest = self._clips([self.index[-1]])[0]
        length = self._longest_length(longest)
        saved = {size: self._saved(self._batch([longest] * size, [length] * size)) for size in ((2,) if self.recipe.train.precision == "fp32" else (2, 3))}
        total = {size: tally.peak for size, tally in saved.items()}
        per_clip = total[3] - total[2] if 3 in total else total[2] // 2
        batch = self._batch([longest] * 2, [length] * 2)
        return Measured(
            parameters=sum(parameter.numel() for parameter in parameters),
            trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            buffers=sum(buffer.nbytes for buffer in self.network.buffers()),
            activations_fixed=max(0, total[2] - 2 * per_clip),
            activations_per_clip=per_clip,
            largest_per_clip=saved[2].largest // 2,
            batch_bytes_per_clip=sum(value.nbytes for value in vars(batch).values() if isinstance(value, Tensor)) // 2,
            clip_bytes=self._clip_bytes(),
        )

    def time(self) -> Speed:
        """Seconds. Takes some steps of a full batch, which change the probe's weights."""
        options = self.recipe.train
        if options.recompute:
            recompute(self.network, self.system.recomputed)
        clips = self._average_clips(options.batch_size)
        optimizer = make_optimizer(self.recipe.optim, self.network)
        seconds, deadline = list[float](), math.inf
        start, cpu = time.perf_counter(), time.process_time()
        while len(seconds) < 2 or time.perf_counter() < deadline:
            began = time.perf_counter()
            lengths = [self.recipe.inputs.training_length(clip.num_frames, generator(len(seconds), number)) for number, clip in enumerate(clips)]
            self._total_loss(self._batch(clips, lengths)).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self._wait()
            seconds.append(time.perf_counter() - began)
            if len(seconds) == 1:
                deadline = time.perf_counter() + PROBE_S
                if seconds[0] > PROBE_S:  # a network this slow has no start-up worth leaving out
                    break
        step = float(np.median(seconds[1:] or seconds)) * self.recipe.optim.accumulation
        own = (time.process_time() - cpu) / (time.perf_counter() - start) / torch.get_num_threads() if self.device == "cpu" else 1.0
        return Speed(own_share=min(1.0, own), step_s=step, evaluation_clip_s=self._evaluation_seconds(clips))

    def _evaluation_seconds(self, clips: Sequence[Clip]) -> float:
        self.network.eval()
        chosen = clips[: self.recipe.validation.batch_size]
        batch = self.task.with_sources(self.recipe.inputs.evaluation_batch(chosen), chosen)
        batch = self.recipe.inputs.on_device(batch.to(self.device))
        with torch.no_grad():
            began = time.perf_counter()
            self.task.answers(batch.names, self.system.all_logits(heads := self.network(batch)), heads.lengths)
            self._wait()
        self.network.train()
        return (time.perf_counter() - began) / len(batch.names)

    def _clips(self, rows: Sequence[IndexRow]) -> list[Clip]:
        return list(self.shards.rows(self.recipe.data.train_split, {row.name for row in rows}, modalities=self.recipe.inputs.modalities))

    def _average_clips(self, count: int) -> list[Clip]:
        """Clips evenly spaced by length; some twice where there are fewer."""
        chosen = [self.index[int(place)] for place in np.linspace(0, len(self.index) - 1, min(count, len(self.index)) + 2)[1:-1].round()]
        clips = self._clips(chosen)
        return [clips[number % len(clips)] for number in range(count)]

    def _clip_bytes(self) -> int:
        """An average clip in memory: its keypoints, and its pictures as the shards hold them, where the network reads any."""
        clips, split = self._average_clips(8), self.recipe.data.train_split
        pictures = 0
        if "frames" in self.recipe.inputs.modalities:
            pictures = sum(file.bytes for name, file in self.shards.corpus.files.items() if name.startswith(f"{split}/")) // len(self.index)
        return sum(clip.keypoints.nbytes for clip in clips) // len(clips) + pictures

    def _longest_length(self, clip: Clip) -> int:
        """Frames of the longest clip at the longest that training resamples it to."""
        return max(self.recipe.inputs.training_length(clip.num_frames, generator(draw)) for draw in range(DRAWS))

    def _batch(self, clips: Sequence[Clip], lengths: Sequence[int]) -> Batch:
        batch = self.recipe.inputs.training_batch(clips, lengths, generator(self.recipe.seed, FRAMES))
        return self.recipe.inputs.on_device(self.task.with_targets(batch, clips).to(self.device))

    def _saved(self, batch: Batch) -> Tally:
        """What autograd saves of forward and loss, but parameters and buffers."""
        tally = Tally([*self.network.parameters(), *self.network.buffers()])
        again = blocks(self.network, self.system.recomputed) if self.recipe.train.recompute else []
        with torch.autograd.graph.saved_tensors_hooks(tally.note, refuse), tally.inside(again):
            self._total_loss(batch)
        return tally

    def _total_loss(self, batch: Batch) -> Tensor:
        training_mode(self.network, self.recipe.optim.frozen)
        with self._autocast():
            terms = self.loss(self.network(batch), batch)
        return torch.stack([self.recipe.losses.weights.get(name, 1.0) * value for name, value in terms.items()]).sum()

    def _autocast(self) -> AbstractContextManager[object]:
        half = HALF.get(self.recipe.train.precision)
        return nullcontext() if half is None else torch.autocast(torch.device(self.device).type, dtype=half)

    def _wait(self) -> None:
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()
