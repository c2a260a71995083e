"""A shard set of very many small files, and what it costs Ray Data to hand out its first batch."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.shards import ShardFile, ShardSet
from workloads.training.session import READ_ROWS
from workloads.training.workers import _dataset

CORPUS = {"num_train": 8, "num_dev": 2, "num_test": 0, "num_signer_independent": 0, "max_glosses": 2, "fps": 10}
LOOK_S = 0.05


@dataclass(frozen=True, kw_only=True)
class FirstBatch:
    """Seconds from the open folder to the first batch, rows in it, and the most threads of any process meanwhile."""

    seconds: float
    rows: int
    threads: int


def many_files(folder: Path, count: int) -> Path:
    """Shards of `count` files of 8 recordings: one file under many names, so that they take no room."""
    made = preprocess(
        PreprocessOptions(corpus="synthetic", out=folder, settings={key: str(value) for key, value in CORPUS.items()}), in_this_process
    ).shards.corpus
    [(first, file)] = [(name, entry) for name, entry in made.files.items() if name.startswith("train/")]
    names = [f"train/part-{number:05d}.parquet" for number in range(count)]
    for name in names[1:]:
        with suppress(FileExistsError):
            os.link(folder / first, folder / name)
    rest: dict[str, ShardFile] = {name: entry for name, entry in made.files.items() if name != first}
    train = made.splits["train"].model_copy(update={"recordings": file.recordings * count})
    corpus = made.model_copy(update={"files": {**dict.fromkeys(names, file), **rest}, "splits": {**made.splits, "train": train}})
    (folder / "corpus.json").write_text(corpus.model_dump_json(), encoding="utf-8")
    return folder


def first_batch(folder: Path, processes: psutil.Process) -> FirstBatch:
    """As a training reads, on the cluster that is connected, whose processes are the children of `processes`."""
    with _watched_threads(processes) as peak:
        began = time.perf_counter()
        dataset = _dataset(ShardSet.open(folder), "train", ("keypoints",))
        # Closed, because an executor that goes on reading ends the process with a Ray that was shut down meanwhile.
        with closing(iter(dataset.iter_batches(batch_size=READ_ROWS, batch_format="pyarrow"))) as batches:
            rows = next(batches).num_rows
            seconds = time.perf_counter() - began
    return FirstBatch(seconds=seconds, rows=rows, threads=peak[0])


def first_clip(folder: Path) -> FirstBatch:
    """In this process, without Ray."""
    began = time.perf_counter()
    next(ShardSet.open(folder).rows("train"))
    return FirstBatch(seconds=time.perf_counter() - began, rows=1, threads=psutil.Process().num_threads())


@contextmanager
def _watched_threads(parent: psutil.Process) -> Iterator[list[int]]:
    peak, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_S):
            for process in (psutil.Process(), *parent.children(recursive=True)):
                with suppress(psutil.Error):
                    peak[0] = max(peak[0], process.num_threads())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        ended.set()
        watcher.join()
