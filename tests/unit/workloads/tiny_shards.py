"""Shards of a small invented corpus that `tests.unit.tiny` has a network for."""

from __future__ import annotations

from pathlib import Path

from tests.unit.tiny import GLOSSES
from tests.unit.workloads.corpora_on_disk import sample, write_release
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.shards import ShardSet

NUM_CLIPS = 36  # three row groups, two pieces of work


def write_tiny_shards(folder: Path) -> ShardSet:
    """`test`: clips of three signers, the last with a gloss that the network doesn't know, and one without annotation; `short`: no clip with glosses."""
    test = [
        sample(f"test/{i}", " ".join(GLOSSES[(i + j) % 4] for j in range(i % 3 + 1)), 8 + 4 * (i * 5 % 4), seed=i, signer=f"Signer{i % 3}")
        for i in range(NUM_CLIPS)
    ]
    test += [sample("test/unknown", "REGEN WOLKE", 12, seed=100), sample("test/silent", "", 12, seed=101)]
    source = write_release(folder / "corpus", {"train": [sample("train/0", "HAUS")], "dev": [sample("dev/0", "")], "test": test}, vocabulary=False)
    return preprocess(PreprocessOptions(corpus="phoenix2014t", source=source, out=folder / "shards"), in_this_process).shards
