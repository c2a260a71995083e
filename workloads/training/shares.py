"""Shares of the training split, and who trains on them: what a step sums up doesn't depend on how many workers there are.

A recipe that goes on with fewer workers (`train.min_workers`) cuts the split into `num_workers` shares. Each share has its own order, batches and draws,
as a worker of its own would; the workers that are there take turns with them, and the optimiser steps when every share has had its batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from models.batch import Batch
from models.inputs.clip import Clip
from workloads.recipe import Recipe
from workloads.training.batches import ClipSource, EpochBatches

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of batch norms, by the end of their names


def shares_of(recipe: Recipe, world_size: int) -> int:
    """Shares that the split is cut into: one for each worker, of those that the recipe asks for where it goes on with fewer."""
    return max(1, recipe.train.num_workers) if recipe.train.min_workers else world_size


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One batch of a step: the share that it is of, and its number among the share's batches of the step. counts: it is no repetition without weight."""

    share: int
    number: int
    counts: bool = True


@dataclass(frozen=True, kw_only=True)
class Deal:
    """How `shares` are dealt out to `world_size` workers, seen from the worker `rank`."""

    shares: int
    world_size: int
    rank: int

    @property
    def own(self) -> list[int]:
        """This worker's shares."""
        return list(range(self.rank, self.shares, self.world_size))

    @property
    def rounds(self) -> int:
        """Batches that every worker takes for one of each share."""
        return math.ceil(self.shares / self.world_size)

    @property
    def scale(self) -> float:
        """What makes the engine's mean over workers and rounds the mean over shares."""
        return self.rounds * self.world_size / self.shares

    def turns(self, accumulation: int) -> list[Turn]:
        """A step of this worker. One with fewer shares than others repeats its last batch without weight: all make as many passes, as the engine wants."""
        turns = [Turn(share=share, number=number) for number in range(accumulation) for share in self.own]
        last = turns[-1]
        return turns + [Turn(share=last.share, number=last.number, counts=False)] * (accumulation * self.rounds - len(turns))


@dataclass(frozen=True)
class SharedBatches:
    """The batches of several shares in turns: one of each, then the next of each."""

    parts: Sequence[EpochBatches]

    @property
    def source(self) -> ClipSource:
        return self.parts[0].source

    @property
    def num_batches(self) -> int:
        """Batches of each share per epoch."""
        return self.parts[0].num_batches

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch after the first `skip` of each share."""
        for together in zip(*(part.epoch(epoch, skip=skip) for part in self.parts), strict=False):
            yield from together


@dataclass(frozen=True, kw_only=True)
class ShareOf:
    """The clips of one of `shares` equal, consecutive parts of a split; what doesn't divide is left out, at its end."""

    whole: ClipSource
    share: int
    shares: int

    @property
    def num_clips(self) -> int:
        return self.whole.num_clips // self.shares

    def __iter__(self) -> Iterator[Clip]:
        first = self.share * self.num_clips
        return islice(iter(self.whole), first, first + self.num_clips)


def files_of_share(recordings: Sequence[int], share: int, shares: int) -> tuple[range, int, int]:
    """Which files hold a share, by the recordings of each: their positions, the clips of the first that aren't the share's, and the share's clips."""
    count = sum(recordings) // shares
    first = share * count
    ends = [sum(recordings[: position + 1]) for position in range(len(recordings))]
    begin = next(position for position, end in enumerate(ends) if end > first)
    end = next(position for position, end in enumerate(ends) if end >= first + count) + 1
    return range(begin, end), first - (ends[begin] - recordings[begin]), count


@contextmanager
def unseen_by_norms(network: nn.Module, unseen: bool) -> Iterator[None]:
    """Put the running statistics of batch norms back after the block: only those of share 0 become the checkpoint's, whoever trains on which."""
    kept = [(buffer, buffer.clone()) for name, buffer in network.named_buffers() if name.endswith(STATISTICS)] if unseen else []
    yield
    with torch.no_grad():
        for buffer, values in kept:
            buffer.copy_(values)
