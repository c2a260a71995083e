"""Where a training loop runs: as a Ray Train worker, or alone in this process. The loop sees the same session either way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from models.errors import ShardError
from models.inputs.clip import Clip
from models.inputs.inputs import Modality
from workloads.shards import KEYPOINTS_ONLY, ShardSet, clips_from_table
from workloads.training.batches import ClipSource
from workloads.training.shares import ShareOf

READ_ROWS = 16  # rows that come from Ray Data at a time


class Session(Protocol):
    """What a training loop needs of its surroundings."""

    rank: int
    world_size: int
    device: str

    def training_clips(self, share: int, shares: int) -> ClipSource:
        """One of the equal shares of the training split."""

    def validation_clips(self) -> list[Clip]:
        """This worker's share of the dev split; never empty."""

    def report(self, metrics: dict[str, float | str]) -> None:
        """Tell the surroundings how the run goes; every rank calls it at the same step."""

    def notice(self) -> float | None:
        """Seconds until a node of this run is taken away, where that is known, else None; every rank calls it at the same step."""


@dataclass
class ClipsOf:
    """Clips that `read` yields anew at each iteration."""

    read: Callable[[], Iterator[Clip]]
    num_clips: int

    def __iter__(self) -> Iterator[Clip]:
        return self.read()


class LocalSession:
    """One process, no Ray: shards are read as they are."""

    rank, world_size = 0, 1

    def __init__(self, shards: ShardSet, *, train_split: str, dev_split: str, modalities: Sequence[Modality] = KEYPOINTS_ONLY, device: str = "cpu") -> None:
        self._shards, self._train, self._dev, self._modalities, self.device = shards, train_split, dev_split, modalities, device

    def training_clips(self, share: int = 0, shares: int = 1) -> ClipSource:
        whole = ClipsOf(lambda: self._shards.rows(self._train, modalities=self._modalities), len(self._shards.index(self._train)))
        return whole if shares == 1 else ShareOf(whole=whole, share=share, shares=shares)

    def validation_clips(self) -> list[Clip]:
        return list(self._shards.rows(self._dev, modalities=self._modalities))

    def report(self, metrics: dict[str, float | str]) -> None:
        pass

    def notice(self) -> float | None:
        return None


class RaySession:
    """A Ray Train worker: clips stream in through Ray Data.

    train_clips: of the split in all. skipped: of each share that has a data set of its own (`train-<share>`), the clips before it in its first file.
    """

    def __init__(self, *, train_clips: int, skipped: Sequence[int] = ()) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        self.device = str(ray.train.torch.get_device())
        self._train_clips, self._skipped = train_clips, skipped

    def training_clips(self, share: int, shares: int) -> ClipSource:
        """What doesn't divide by the number of shares is left out, by Ray Data where it divides the split among the workers."""
        import ray.train

        count = self._train_clips // shares
        if not self._skipped:
            shard = ray.train.get_dataset_shard("train")
            return ClipsOf(lambda: stream(shard), count)
        own, before = ray.train.get_dataset_shard(f"train-{share}"), self._skipped[share]
        return ClipsOf(lambda: islice(stream(own), before, before + count), count)

    def validation_clips(self) -> list[Clip]:
        """Every `world_size`-th clip; the split comes whole to each worker, so that none is lost. A worker that gets none repeats the first."""
        import ray.train

        kept = [clip for number, clip in enumerate(stream(ray.train.get_dataset_shard("dev"))) if number == 0 or number % self.world_size == self.rank]
        return kept[1:] if self.rank and len(kept) > 1 else kept

    def report(self, metrics: dict[str, float | str]) -> None:
        import ray.train

        ray.train.report(metrics)

    def notice(self) -> float | None:
        """By Ray's watch on nodes that are drained: by `ray drain-node`, which `cluster/spot_notice.py` calls at a cloud's notice."""
        import ray.train

        found = ray.train.get_preemption_info()
        if found is None:
            return None
        return max(0.0, found.deadline_ms / 1000 - time.time()) if found.deadline_ms else 0.0


def stream(dataset: Any) -> Iterator[Clip]:
    """The clips of a dataset of Ray Data, or of a worker's share of one. Raises ShardError, in one line, for what Ray Data can't read."""
    from ray.exceptions import RayTaskError

    batches = iter(dataset.iter_batches(batch_size=READ_ROWS, batch_format="pyarrow", prefetch_batches=1))
    while True:
        try:
            table = next(batches, None)
        except RayTaskError as error:  # its text is a traceback of the reading task; its cause begins with what is wrong
            reason = (str(error.cause).strip().splitlines() or [type(error.cause).__name__])[0]
            raise ShardError(
                f"Ray Data can't read the shards ({reason[:200]}): all nodes must see them; where they are damaged, run preprocess again"
            ) from None
        if table is None:
            return
        yield from clips_from_table(table)
