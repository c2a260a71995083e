"""The order of training: repeatable, different in each epoch, alike in length on all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs
from tests.unit.tiny import GLOSSES, VOCABULARY, tiny_clip
from workloads.training.batches import EpochBatches, batched
from workloads.training.tasks import SentenceTask


@dataclass
class Clips:
    clips: list[Clip]
    reads: int = 0

    @property
    def num_clips(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        self.reads += 1
        return iter(self.clips)


def clips(count: int, *, prefix: str = "clip") -> list[Clip]:
    lengths = np.random.default_rng(0).integers(8, 60, count)
    return [tiny_clip(f"{prefix}{number}", num_frames=int(length), seed=number, glosses=GLOSSES[:2]) for number, length in enumerate(lengths)]


def batches(source: Clips, *, batch_size: int = 4, pool_size: int = 100, bucket_batches: int = 1, seed: int = 0, rank: int = 0) -> EpochBatches:
    return EpochBatches(
        source=source,
        inputs=KeypointInputs(),
        task=SentenceTask(corpus="synthetic", vocabulary=VOCABULARY, references={}),
        batch_size=batch_size,
        pool_size=pool_size,
        bucket_batches=bucket_batches,
        seed=seed,
        rank=rank,
    )


def names(source: EpochBatches, epoch: int = 0) -> list[tuple[str, ...]]:
    return [batch.names for batch in source.epoch(epoch)]


@pytest.fixture(scope="module")
def source() -> Clips:
    return Clips(clips(22))


def test_the_same_seed_gives_the_same_batches_to_the_bit(source: Clips) -> None:
    first, second = (list(batches(source).epoch(3)) for _ in range(2))
    assert [batch.names for batch in first] == [batch.names for batch in second]
    assert all(torch.equal(a.keypoints, b.keypoints) and torch.equal(a.rotations, b.rotations) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("change", [{"seed": 1}, {"rank": 1}])
def test_another_seed_or_rank_gives_another_order(source: Clips, change: dict[str, int]) -> None:
    assert names(batches(source)) != names(batches(source, **change))


def test_epochs_differ(source: Clips) -> None:
    both = batches(source)
    assert names(both, 0) != names(both, 1)


def test_what_does_not_fill_a_batch_is_left_out_and_changes_with_the_epoch(source: Clips) -> None:
    every = batches(source)
    assert every.num_batches == 5
    used = [{name for batch in names(every, epoch) for name in batch} for epoch in range(3)]
    assert [len(part) for part in used] == [20, 20, 20]
    assert used[0] != used[1]


@pytest.mark.parametrize("pool_size", [8, 100])
@pytest.mark.parametrize("skip", [0, 1, 4, 5])
def test_skipping_gives_the_tail(source: Clips, skip: int, pool_size: int) -> None:
    whole = list(batches(source, pool_size=pool_size).epoch(2))
    tail = list(batches(source, pool_size=pool_size).epoch(2, skip=skip))
    assert [batch.names for batch in tail] == [batch.names for batch in whole[skip:]]
    assert all(torch.equal(a.keypoints, b.keypoints) for a, b in zip(tail, whole[skip:], strict=True))


@pytest.mark.parametrize("pool_size", [1, 5, 8, 12, 22, 100])
def test_pools_of_any_size_give_all_batches(source: Clips, pool_size: int) -> None:
    every = batches(source, pool_size=pool_size)
    found = names(every)
    assert len(found) == every.num_batches == 5
    flat = [name for batch in found for name in batch]
    assert len(set(flat)) == len(flat)


def test_what_fits_is_read_once_and_what_does_not_in_each_epoch() -> None:
    for pool_size, reads in ((100, 1), (8, 3)):
        source = Clips(clips(22))
        every = batches(source, pool_size=pool_size)
        for epoch in range(3):
            names(every, epoch)
        assert source.reads == reads


def padding(every: EpochBatches, epochs: int = 4) -> float:
    found = [batch for epoch in range(epochs) for batch in every.epoch(epoch)]
    return 1 - sum(int(batch.lengths.sum()) for batch in found) / sum(batch.keypoints.shape[0] * batch.keypoints.shape[1] for batch in found)


def test_buckets_pad_less() -> None:
    source = Clips(clips(64))
    shuffled, bucketed = padding(batches(source)), padding(batches(source, bucket_batches=8))
    assert bucketed < 0.6 * shuffled


def test_the_ranks_have_batches_of_like_lengths_at_the_same_step() -> None:
    ranks = [batches(Clips(clips(64, prefix=f"rank{rank}-")), bucket_batches=16, rank=rank) for rank in range(2)]
    lengths = [[int(batch.lengths.max()) for batch in every.epoch(0)] for every in ranks]
    assert np.corrcoef(lengths)[0, 1] > 0.9


def test_one_clip_more_or_less_in_a_batch_changes_no_other_draw() -> None:
    """A clip's frames are drawn by the batch's number, not by what was drawn before it."""
    few, many = Clips(clips(8)), Clips(clips(8))
    first = list(batches(few).epoch(0))
    second = list(batches(many).epoch(0, skip=1))
    assert torch.equal(first[1].keypoints, second[0].keypoints)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (tiny_clip("bad", num_frames=3), "^bad: too short: 3 frames found, at least 4 needed"),
        (Clip(name="bad", keypoints=np.full((8, 133, 3), np.nan, np.float32), frame_size=(200, 100)), "^bad: NaN or infinite keypoints: 3192 values"),
        (Clip(name="bad", keypoints=np.zeros((8, 17, 3), np.float32), frame_size=(200, 100)), "^bad: wrong keypoint count: 17 points found, 133 expected"),
    ],
)
def test_a_clip_that_the_network_cannot_take_is_named(damaged: Clip, message: str) -> None:
    for pool_size in (4, 100):
        with pytest.raises(RecordingError, match=message):
            names(batches(Clips([*clips(7), damaged]), pool_size=pool_size))


def test_batched() -> None:
    assert list(batched("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batched("", 2)) == []
