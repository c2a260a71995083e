"""Where clips come from: files, or Ray Data, whose failures become one line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.exceptions import RayTaskError

from models.errors import ShardError
from workloads.shards import ShardSet
from workloads.training.session import LocalSession, stream


class Dataset:
    def __init__(self, tables: list[pa.Table], error: Exception | None = None) -> None:
        self._tables, self._error = tables, error

    def iter_batches(self, **_: Any) -> Iterator[pa.Table]:
        yield from self._tables
        if self._error:
            raise self._error


def test_a_local_session_reads_each_epoch_anew(tiny_shards: Path) -> None:
    session = LocalSession(ShardSet.open(tiny_shards), train_split="train", dev_split="dev")
    clips = session.training_clips()
    assert clips.num_clips == 26
    assert [clip.name for clip in clips] == [clip.name for clip in clips]
    assert len(session.validation_clips()) == 5


def test_rows_of_ray_data_are_clips(tiny_shards: Path) -> None:
    shards = ShardSet.open(tiny_shards)
    tables = [pq.read_table(path) for path in shards.files("dev")]
    assert [clip.name for clip in stream(Dataset(tables))] == [clip.name for clip in shards.rows("dev")]


def test_what_ray_data_cannot_read_is_one_line(tiny_shards: Path) -> None:
    error = RayTaskError("read", "Traceback ...\n a task of Ray", OSError("part-00000.parquet: no such file\nTo change retry attempts ..."))
    with pytest.raises(ShardError, match=r"^Ray Data can't read the shards \(part-00000.parquet: no such file\): all nodes must see them"):
        list(stream(Dataset([], error)))
