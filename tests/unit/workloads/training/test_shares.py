"""Shares of the training split: dealt out to any number of workers, a step sums up the same. What ranks do with them: `test_ranks.py`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from models.errors import RecipeError
from tests.unit.workloads.tiny_runs import tiny_recipe
from workloads.shards import ShardSet
from workloads.training.session import LocalSession
from workloads.training.shares import Deal, Turn, files_of_share, unseen_by_norms


@pytest.mark.parametrize(("shares", "workers"), [(1, 1), (4, 4), (4, 2), (4, 3), (4, 1), (7, 3)])
def test_every_share_counts_once_and_all_workers_make_as_many_passes(shares: int, workers: int) -> None:
    deals = [Deal(shares=shares, world_size=workers, rank=rank) for rank in range(workers)]
    turns = [deal.turns(2) for deal in deals]
    counted = sorted((turn.share, turn.number) for part in turns for turn in part if turn.counts)
    assert counted == [(share, number) for share in range(shares) for number in range(2)]
    assert {len(part) for part in turns} == {2 * deals[0].rounds}
    # The engine's mean over workers and passes, of the batches that count, is the mean over shares.
    assert deals[0].scale / (workers * deals[0].rounds) == pytest.approx(1 / shares)
    assert all(turn.counts for part in turns for turn in part[: len(part) - 2]) or shares % workers


def test_a_worker_with_fewer_shares_repeats_its_last_batch_without_weight() -> None:
    assert Deal(shares=3, world_size=2, rank=1).turns(1) == [Turn(share=1, number=0), Turn(share=1, number=0, counts=False)]


def test_shares_are_equal_and_consecutive(tiny_shards: Path) -> None:
    session = LocalSession(ShardSet.open(tiny_shards), train_split="train", dev_split="dev")
    names = [clip.name for clip in session.training_clips()]
    parts = [session.training_clips(share, 3) for share in range(3)]
    assert [part.num_clips for part in parts] == [8, 8, 8]
    assert [clip.name for part in parts for clip in part] == names[:24]


@pytest.mark.parametrize("shares", [1, 2, 3, 5])
def test_the_files_of_a_share(shares: int) -> None:
    recordings = [3, 0, 7, 1, 9]
    rows = [(file, row) for file, count in enumerate(recordings) for row in range(count)]
    for share in range(shares):
        files, before, count = files_of_share(recordings, share, shares)
        read = [row for row in rows if row[0] in files]
        assert read[before : before + count] == rows[share * count : (share + 1) * count]
        assert count == 20 // shares
        assert before < recordings[files.start]


def test_statistics_are_put_back() -> None:
    norm = nn.BatchNorm1d(3)
    with unseen_by_norms(norm, True):
        norm(torch.randn(4, 3) + 5)
    assert norm.running_mean is not None
    assert norm.num_batches_tracked is not None
    assert norm.running_mean.tolist() == [0, 0, 0]
    assert norm.num_batches_tracked.item() == 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (("train.num_workers=2", "train.min_workers=3"), "min_workers is 3, num_workers 2: the fewest workers can't be more than all"),
        (("train.num_workers=2", "train.min_workers=1", "train.sync_batch_norm=true"), "min_workers: with sync_batch_norm the norms count the clips of all"),
        (("train.num_workers=2", "train.min_workers=1", "train.zero_stage=1", "optim.name=sgd"), "can't be divided anew among fewer workers"),
    ],
)
def test_what_can_not_go_on_with_fewer_workers(tiny_shards: Path, changes: tuple[str, ...], problem: str) -> None:
    with pytest.raises(RecipeError, match=problem):
        tiny_recipe(tiny_shards, *changes)
