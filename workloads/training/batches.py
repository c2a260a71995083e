"""The order in which a worker trains on its clips: shuffled, bucketed by length, the same for the same seed, epoch and rank.

Every draw comes from a generator seeded by (seed, purpose, epoch, ...), so that a resumed run continues in the middle of an epoch by
skipping batches, without replaying them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import numpy as np

from models.batch import Batch
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs
from workloads.training.tasks import Task

T = TypeVar("T")
ORDER, BUCKETS, FRAMES, DROPOUT = 1, 2, 3, 4  # what a generator is for


class ClipSource(Protocol):
    """A worker's share of a split: the same clips in the same order at each iteration."""

    @property
    def num_clips(self) -> int: ...

    def __iter__(self) -> Iterator[Clip]: ...


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of `size` items; the last may be shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def generator(*key: int) -> np.random.Generator:
    """Random generator of a key of integers."""
    return np.random.Generator(np.random.PCG64(list(key)))


@dataclass(kw_only=True)
class EpochBatches:
    """A worker's training batches, epoch by epoch. A clip that the network can't take raises RecordingError where it is read.

    The last clips of an epoch that don't fill a batch are left out, as published; which ones changes with the epoch's order.
    """

    source: ClipSource
    inputs: Inputs
    task: Task
    batch_size: int
    pool_size: int
    bucket_batches: int
    seed: int
    rank: int
    _resident: list[Clip] | None = field(default=None, init=False)

    @property
    def num_batches(self) -> int:
        """Batches per epoch."""
        return self.source.num_clips // self.batch_size

    def epoch(self, epoch: int, *, skip: int = 0) -> Iterator[Batch]:
        """The batches of one epoch after the first `skip`."""
        number = 0
        for pool_number, pool in enumerate(self._pools()):
            for clips, lengths in self._pool_batches(pool, epoch, pool_number):
                if number >= skip:
                    batch = self.inputs.training_batch(clips, lengths, generator(self.seed, FRAMES, epoch, self.rank, number))
                    yield self.task.with_targets(batch, clips)
                number += 1

    def _pools(self) -> Iterable[Sequence[Clip]]:
        """The clips in pools that are shuffled as a whole; one pool that stays in memory where they fit."""
        size = max(self.pool_size // self.batch_size, 1) * self.batch_size
        if self.source.num_clips > size:
            return batched(self._checked(), size)
        if self._resident is None:
            self._resident = list(self._checked())
        return [self._resident]

    def _checked(self) -> Iterator[Clip]:
        for clip in self.source:
            self.inputs.check(clip)
            yield clip

    def _pool_batches(self, pool: Sequence[Clip], epoch: int, pool_number: int) -> Iterator[tuple[list[Clip], list[int]]]:
        draw = generator(self.seed, ORDER, epoch, pool_number, self.rank)
        order = [int(index) for index in draw.permutation(len(pool))][: len(pool) // self.batch_size * self.batch_size]
        lengths = {index: self.inputs.training_length(pool[index].num_frames, draw) for index in order}
        batches: list[list[int]] = []
        for bucket in batched(order, self.batch_size * self.bucket_batches):
            in_order = sorted(bucket, key=lambda index: lengths[index]) if self.bucket_batches > 1 else bucket
            batches.extend(batched(in_order, self.batch_size))
        # The same permutation on every rank: the ranks' batches of one step have like lengths, so that none waits for another.
        for number in generator(self.seed, BUCKETS, epoch, pool_number).permutation(len(batches)):
            chosen = batches[number]
            yield [pool[index] for index in chosen], [lengths[index] for index in chosen]
