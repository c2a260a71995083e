"""Where a training loop runs: as a Ray Train worker, or alone in this process. The loop sees the same session either way."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from models.inputs.clip import Clip
from workloads.shards import ShardSet, clips_from_table
from workloads.training.batches import ClipSource
from workloads.training.checkpoints import best_checkpoint, checkpoint_name, checkpoints, newest_intact

READ_ROWS = 16  # rows that come from Ray Data at a time
Write = Callable[[Path], None]


class Session(Protocol):
    """What a training loop needs of its surroundings."""

    rank: int
    world_size: int
    device: str
    checkpoint_folder: Path

    def training_clips(self) -> ClipSource:
        """This worker's share of the training split."""

    def validation_clips(self) -> list[Clip]:
        """This worker's share of the dev split."""

    def report(self, metrics: dict[str, float], *, step: int, write: Write | None) -> None:
        """Report metrics, and with `write` a checkpoint to which each rank contributes a folder. Raises OSError where it can't be written."""


@dataclass
class ClipsOf:
    """Clips that `read` yields anew at each iteration."""

    read: Callable[[], Iterator[Clip]]
    num_clips: int

    def __iter__(self) -> Iterator[Clip]:
        return self.read()


class LocalSession:
    """One process, no Ray: shards are read as they are, checkpoints are folders beside each other."""

    rank, world_size = 0, 1

    def __init__(self, shards: ShardSet, *, train_split: str, dev_split: str, checkpoint_folder: Path, keep: int, device: str = "cpu") -> None:
        self._shards, self._train, self._dev, self._keep = shards, train_split, dev_split, keep
        self.device, self.checkpoint_folder = device, checkpoint_folder
        checkpoint_folder.mkdir(parents=True, exist_ok=True)

    def training_clips(self) -> ClipSource:
        return ClipsOf(lambda: self._shards.rows(self._train), len(self._shards.index(self._train)))

    def validation_clips(self) -> list[Clip]:
        return list(self._shards.rows(self._dev))

    def report(self, metrics: dict[str, float], *, step: int, write: Write | None) -> None:
        if write is None:
            return
        target = self.checkpoint_folder / checkpoint_name(step)
        with tempfile.TemporaryDirectory(dir=self.checkpoint_folder, prefix=".writing") as folder:
            write(Path(folder))
            shutil.rmtree(target, ignore_errors=True)
            os.rename(folder, target)
            os.mkdir(folder)  # what the context manager removes
        self._prune()

    def _prune(self) -> None:
        newest = newest_intact(self.checkpoint_folder)[0]
        best = best_checkpoint(self.checkpoint_folder)
        kept = [path for path in (newest, best[0] if best else None) if path is not None]
        others = [path for path in checkpoints(self.checkpoint_folder) if path not in kept]
        for path in others[max(0, self._keep - len(set(kept))) :]:
            shutil.rmtree(path)


class RaySession:
    """A Ray Train worker: clips stream in through Ray Data, checkpoints go where the run's storage is."""

    def __init__(self, checkpoint_folder: Path, *, train_clips: int) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = str(ray.train.torch.get_device())
        self.checkpoint_folder, self._train_clips = checkpoint_folder, train_clips

    def training_clips(self) -> ClipSource:
        """An equal share of the split: Ray Data leaves out what doesn't divide by the number of workers."""
        import ray.train

        shard = ray.train.get_dataset_shard("train")
        return ClipsOf(lambda: _stream(shard), self._train_clips // self.world_size)

    def validation_clips(self) -> list[Clip]:
        """Every `world_size`-th clip; the split comes whole to each worker, so that none is lost."""
        import ray.train

        clips = list(_stream(ray.train.get_dataset_shard("dev")))
        return clips[self.rank :: self.world_size] or clips[:1]

    def report(self, metrics: dict[str, float], *, step: int, write: Write | None) -> None:
        import ray.train

        if write is None:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory(prefix="checkpoint") as folder:
            write(Path(folder))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=checkpoint_name(step))


def _stream(dataset: Any) -> Iterator[Clip]:
    for table in dataset.iter_batches(batch_size=READ_ROWS, batch_format="pyarrow", prefetch_batches=1):
        yield from clips_from_table(table)
