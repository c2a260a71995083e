"""The invented corpus is read as a published one, and is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.invented_corpus import write
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess


def test_it_is_read_as_a_release_of_phoenix_2014t(tmp_path: Path) -> None:
    splits = {"train": 12, "dev": 3, "test": 3}
    write(tmp_path / "a", seed=7, splits=splits)
    outcome = preprocess(PreprocessOptions(corpus="phoenix2014t", source=tmp_path / "a", out=tmp_path / "shards"), in_this_process)
    assert {name: split.recordings for name, split in outcome.shards.corpus.splits.items()} == splits
    assert len(outcome.shards.vocabulary) == 64
    clips = list(outcome.shards.rows("train"))
    assert 60 < np.mean([clip.num_frames for clip in clips]) < 120
    assert all(clip.glosses and 3 <= len(clip.glosses) <= 7 for clip in clips)
    write(tmp_path / "again", seed=7, splits=splits)
    again = preprocess(PreprocessOptions(corpus="phoenix2014t", source=tmp_path / "again", out=tmp_path / "again_shards"), in_this_process)
    assert all(np.array_equal(clip.keypoints, same.keypoints) for clip, same in zip(clips, again.shards.rows("train"), strict=True))
