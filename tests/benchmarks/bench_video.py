"""Videos and pictures: the decoders against each other, the encodings of shards, and the whole way of pictures to the device against a plain DataLoader.

The way to the device is measured in a process with the environment that a training's workers have; the DataLoader, too.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from models.inputs.clip import Clip
from models.media import read_video
from models.media.segment import encoded_segment
from models.vac.inputs import FrameInputs
from tests.benchmarks.apart import apart
from tests.benchmarks.figure import Figure
from tests.benchmarks.naive_pictures import PictureFolders, collate
from tests.benchmarks.stack import Bench
from workloads.corpora.synthetic import SyntheticOptions, plan, render
from workloads.frame_encoding import FrameOptions
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.shards import ShardSet
from workloads.training.batches import EpochBatches
from workloads.training.session import LocalSession

BATCH = 2  # clips, as published
SIDE = 256
NUM_CLIPS = 48  # an epoch: so many that the start of the DataLoader's workers and of our readers doesn't count
THREADS = 2  # that decode pictures, as the DataLoader has workers


def measure(bench: Bench) -> list[Figure]:
    """The pipeline's figures, then those of the decoders."""
    return [*_pipeline(bench), *_decoders(bench)]


def _pipeline(bench: Bench) -> Iterator[Figure]:
    """Frames a second, ready on the device: batches of two clips, cropped, mirrored, resampled in time, normalised; one epoch a round, the sides in turns."""
    options = _options(2 if bench.quick else NUM_CLIPS)
    folder = _folders(bench.folder / "png", options)
    encodings = ("jpeg",) if bench.quick else ("jpeg", "webp", "h264")
    ways = [(encoding, True) for encoding in encodings] + [("jpeg", False)]
    shards = {encoding: _shards(bench.folder / encoding, options, encoding) for encoding in encodings}
    for encoding, normalised in ways:
        if bench.quick:
            pairs = _rates(folder, shards[encoding], normalised=normalised, rounds=1)
        else:
            way = (str(folder), str(shards[encoding].path), "normalised" if normalised else "uint8")
            pairs = json.loads(apart("tests.benchmarks.bench_video", *way, threads=THREADS))
        ours, plain = zip(*pairs, strict=True)
        ready = "normalised" if normalised else "uint8, as networks take them"
        yield Figure(
            name=f"pictures, {encoding} shards to the device, {ready} / DataLoader over PNG folders, frames a second",
            rounds=tuple(a / b for a, b in zip(ours, plain, strict=True)),
            note=f"{np.median(ours):,.0f} over {np.median(plain):,.0f} frames/s; {BATCH} clips of {SIDE} × {SIDE}, the DataLoader's better of 0 and 2 workers",
            at_least=3.0 if normalised and encoding == "jpeg" else None,
        )


def _rates(folder: Path, shards: ShardSet, *, normalised: bool, rounds: int) -> list[list[float]]:
    """Frames a second of [ours, the DataLoader's better of 0 and 2 workers] by round."""
    return [[_rate(_ours(shards, number, normalised=normalised)), max(_rate(_published(folder, workers)) for workers in (0, 2))] for number in range(rounds)]


def _options(num_train: int) -> SyntheticOptions:
    return SyntheticOptions(num_train=num_train, num_dev=1, num_test=0, num_signer_independent=0, width=SIDE, height=SIDE, rgb=1)


def _folders(root: Path, options: SyntheticOptions) -> Path:
    for sentence in plan(options):
        if sentence.split == "train":
            folder = root / sentence.name
            folder.mkdir(parents=True)
            for number, picture in enumerate(render(options, sentence)):
                cv2.imwrite(str(folder / f"{number:05d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return root


def _shards(out: Path, options: SyntheticOptions, encoding: Any) -> ShardSet:
    defaults = SyntheticOptions()
    settings = {name: str(value) for name, value in dataclasses.asdict(options).items() if value != getattr(defaults, name)}
    return preprocess(PreprocessOptions(corpus="synthetic", out=out, settings=settings, frames=FrameOptions(encoding=encoding))).shards


def _published(folder: Path, workers: int) -> Iterator[torch.Tensor]:
    """Ready batches of the plain way."""
    loader = DataLoader(PictureFolders(folder), batch_size=BATCH, shuffle=True, drop_last=True, num_workers=workers, collate_fn=collate)
    for frames, lengths in loader:
        yield frames[:, : int(max(lengths))]


def _ours(shards: ShardSet, epoch: int, *, normalised: bool) -> Iterator[torch.Tensor]:
    """Ready batches of ours: read from the shards anew, as in a corpus that doesn't fit into memory."""
    torch.set_num_threads(THREADS)
    inputs = FrameInputs()
    session = LocalSession(shards, train_split="train", dev_split="dev", modalities=inputs.modalities)
    batches = EpochBatches(
        source=session.training_clips(),
        inputs=inputs,
        task=_NoTask(),
        batch_size=BATCH,
        pool_size=8,
        bucket_batches=4,
        seed=0,
        rank=0,  # type: ignore[arg-type]
    )
    for batch in batches.epoch(epoch):
        frames = inputs.on_device(batch).frames
        assert frames is not None
        yield torch.div(frames, 127.5).sub_(1) if normalised else frames


class _NoTask:
    """Targets are of no interest here."""

    def with_targets(self, batch: Any, _clips: list[Clip]) -> Any:
        return batch


def _rate(batches: Iterator[torch.Tensor]) -> float:
    began, frames = time.perf_counter(), 0
    for batch in batches:
        frames += batch.shape[0] * batch.shape[1]
    return frames / (time.perf_counter() - began)


def _decoders(bench: Bench) -> Iterator[Figure]:
    """PyAV over decord, CPU time from opening to the last picture: all frames, a random half, eight evenly spread; of two sizes and key frame intervals."""
    num_frames, rounds = (24, 1) if bench.quick else (150, 7)
    for side, interval in ((64, 12),) if bench.quick else ((SIDE, 250), (SIDE, 12), (1024, 250)):
        path = _video(bench.folder / f"{side}-{interval}.mp4", num_frames, side, interval)
        draw = np.random.default_rng(0)
        choices = {
            "all frames": np.arange(num_frames),
            "half of them": np.sort(draw.permutation(num_frames)[: num_frames // 2]),
            "eight": np.linspace(0, num_frames - 1, 8).astype(int),
        }
        for what, chosen in choices.items():
            pairs = [(_cpu(lambda c=chosen, p=path: _decoded(p, "pyav", c)), _cpu(lambda c=chosen, p=path: _decoded(p, "decord", c))) for _ in range(rounds)]
            pyav, decord = (1000 * float(np.median(side_of)) for side_of in zip(*pairs, strict=True))
            yield Figure(
                name=f"video {side} × {side}, a key frame in {interval}, {what}: PyAV / decord",
                rounds=tuple(a / b for a, b in pairs),
                note=f"{pyav:.0f} over {decord:.0f} ms of CPU for {len(chosen)} of {num_frames} frames",
            )


def _decoded(path: Path, backend: str, chosen: np.ndarray) -> None:
    read_video(path, backend=backend).frames.decode(chosen)


def _cpu(work: Callable[[], None]) -> float:
    """Seconds of CPU of all threads: decord decodes in one of its own."""
    began = time.process_time()
    work()
    return time.process_time() - began


def _video(path: Path, num_frames: int, side: int, interval: int) -> Path:
    options = SyntheticOptions(num_train=1, num_dev=1, min_glosses=6)
    pictures = render(options, plan(options)[0], width=side, height=side)
    chosen = pictures[np.arange(num_frames) % len(pictures)]
    path.write_bytes(encoded_segment(iter(chosen), (side, side), 25.0, 20, interval=interval))
    return path


if __name__ == "__main__":
    pictures, shard_folder, form = sys.argv[1:]
    print(json.dumps(_rates(Path(pictures), ShardSet.open(Path(shard_folder)), normalised=form == "normalised", rounds=5)))
