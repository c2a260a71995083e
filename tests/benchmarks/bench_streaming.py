"""A corpus of pictures twenty times the size of the object store, streamed by Ray Data as training streams it: what is spilled to disk."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.environment import quiet_logging, quiet_ray_data
from cluster.ray_cluster import connect
from models.inputs.frames import EncodedPictures
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from workloads.shards import SCHEMA, columns_of
from workloads.training.session import stream

STORE = 512 << 20
TIMES = 20
FILES = 8  # different ones; each is read again and again, which the object store doesn't know


def measure(bench: Bench) -> list[Figure]:
    """Bytes spilled over bytes read, in percent; none in a quick run, which starts no Ray."""
    if bench.quick:
        return []
    return [streamed(bench.folder / "streaming", STORE)]


def streamed(folder: Path, store_bytes: int) -> Figure:
    """One pass over a corpus of TIMES the store."""
    files = corpus(folder, FILES, store_bytes // 16, TIMES * store_bytes)
    with connect(num_cpus=3, object_store_bytes=store_bytes, driver_logs=False):
        began = time.perf_counter()
        read = bytes_streamed(files)
        seconds = time.perf_counter() - began
        spilled = spilled_bytes()
    return Figure(
        name=f"streaming, {read / store_bytes:.0f} times the object store: spilled / read",
        rounds=(100 * spilled / read,),
        unit="%",
        note=f"{spilled / 1e6:,.0f} of {read / 1e6:,.0f} MB through a store of {store_bytes / 1e6:,.0f} MB, {read / 1e6 / seconds:,.0f} MB/s",
        at_most=100.0,
    )


def corpus(folder: Path, num_files: int, file_bytes: int, num_bytes: int) -> list[str]:
    """Shards of `num_bytes` in all: `num_files` that are written, each named again and again."""
    folder.mkdir(parents=True)
    sizes = [_shard(folder, number, file_bytes) for number in range(num_files)]
    return [str(path) for path, _ in sizes] * -(-num_bytes // sum(size for _, size in sizes))


def bytes_streamed(files: list[str]) -> int:
    """Bytes of the pictures of one pass, on the cluster that is connected."""
    import ray.data

    quiet_logging()
    quiet_ray_data()
    read = 0
    for clip in stream(ray.data.read_parquet(files, columns=columns_of(SCHEMA, ["frames"]))):
        assert isinstance(clip.frames, EncodedPictures)
        read += sum(map(len, clip.frames.pictures))
    return read


def _shard(folder: Path, number: int, num_bytes: int) -> tuple[Path, int]:
    """A shard of clips of noise, which nothing compresses."""
    pictures = [np.random.default_rng(number).bytes(30_000) for _ in range(120)]
    count = max(num_bytes // 3_600_000, 1)
    path = folder / f"part-{number:05d}.parquet"
    _write(path, pictures, count)
    return path, count * 3_600_000


def _write(path: Path, pictures: list[bytes], count: int) -> None:
    pictured = {"frames": pictures, "frames_form": "jpeg", "frames_width": 64, "frames_height": 64}
    row = {"split": "train", "signer": "", "width": 64, "height": 64, "n_frames": len(pictures), **pictured}
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for start in range(count):
            writer.write_table(pa.Table.from_pylist([{**row, "name": f"{path.stem}/{start}"}], schema=SCHEMA))


def spilled_bytes() -> int:
    """What the cluster wrote to disk for want of memory, by its own account. Raises RuntimeError where that speaks of it in words that aren't known here."""
    import ray
    from ray._private.internal_api import memory_summary

    summary = memory_summary(address=ray.get_runtime_context().gcs_address, stats_only=True)
    found = re.search(r"Spilled (\d+) MiB", summary)
    if found is None and "spill" in summary.lower():
        raise RuntimeError(f"Ray's memory summary tells what was spilled in other words than 'Spilled N MiB', mend bench_streaming.py: {summary!r}")
    return int(found[1]) << 20 if found else 0
