"""The encodings of shards on a recording of one's own: size, loss and speed, as the table of workloads/README.md has them.

python -m tests.benchmarks.encodings clip.mp4                    a video, or a folder of pictures: its first 300
python -m tests.benchmarks.encodings clip.mp4 --encoding h264=23 only these, each with its quality
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from models.errors import RecordingError
from models.inputs.frames import EncodedPictures, Frames, Pictures
from models.media import VideoClip, read_frames
from models.media.segment import VideoSegment
from workloads.frame_encoding import CHUNK, DEFAULT_QUALITY, EncodedClip, FrameOptions, encode_clip
from workloads.shards import VIDEO_FORM

CHOICES = ("png=1", "jpeg=90", "jpeg=95", "webp=80", "webp=90", "h264=12", "h264=16", "h264=20")
WORST = {"png": 9, "jpeg": 100, "webp": 100, "h264": 51}  # largest number of each scale
MOST_FRAMES = 300
AT_LEAST_S = 0.5  # of CPU that a speed is measured over
HEAD = """| encoding, quality | kB a picture | PSNR, dB | encoded/s | decoded/s, all | decoded/s, a random half |
|---|---:|---:|---:|---:|---:|"""


def rows(clip: VideoClip, options: Sequence[FrameOptions]) -> Iterator[str]:
    """A line of the table for each; speeds are CPU time."""
    originals = Pictures(array=clip.frames.decode(np.arange(min(clip.num_frames, MOST_FRAMES))))
    ready, every = VideoClip(frames=originals, fps=clip.fps), np.arange(originals.num_frames)
    half = np.sort(np.random.default_rng(0).permutation(every)[: max(1, len(every) // 2)])
    for option in options:
        encoded = encode_clip(ready, option)
        encodes = len(every) / _seconds(lambda o=option: encode_clip(ready, o))
        decodes, some = (len(chosen) / _seconds(lambda e=encoded, c=chosen: _stored(e).decode(c)) for chosen in (every, half))
        kilobytes = sum(map(len, encoded.pictures)) / len(every) / 1000
        name = f"{option.encoding} {option.quality}" + (" (its default)" if option.quality == DEFAULT_QUALITY[option.encoding] else "")
        yield f"| {name} | {kilobytes:.1f} | {_loss(_stored(encoded), originals)} | {encodes:,.0f} | {decodes:,.0f} | {some:,.0f} |"


def _stored(clip: EncodedClip) -> Frames:
    """As a shard hands it out, opened anew."""
    if clip.form == VIDEO_FORM:
        return VideoSegment(content=clip.pictures[0], num_frames=len(clip.chosen), size=clip.size)
    return EncodedPictures(pictures=clip.pictures, size=clip.size)


def _loss(stored: Frames, originals: Pictures) -> str:
    """PSNR over all pictures, of a chunk at a time."""
    total = 0.0
    for start in range(0, originals.num_frames, CHUNK):
        chosen = np.arange(start, min(start + CHUNK, originals.num_frames))
        total += float(np.square(stored.decode(chosen).astype(np.float32) - originals.decode(chosen)).sum(dtype=np.float64))
    return "exact" if total == 0 else f"{10 * np.log10(255**2 * originals.array.size / total):.1f}"


def _seconds(work: Callable[[], object]) -> float:
    """Of CPU that one call takes: the mean of so many that they are worth measuring."""
    calls, began = 0, time.process_time()
    while calls == 0 or time.process_time() - began < AT_LEAST_S:
        work()
        calls += 1
    return (time.process_time() - began) / calls


def _option(text: str) -> FrameOptions:
    encoding, _, quality = text.partition("=")
    if encoding not in DEFAULT_QUALITY or (quality and not (quality.isdecimal() and int(quality) <= WORST[encoding])):
        known = ", ".join(f"{name}=0..{largest}" for name, largest in WORST.items())
        raise argparse.ArgumentTypeError(f"{text!r} is no encoding; there are {known}")
    return FrameOptions(encoding=encoding, quality=int(quality) if quality else DEFAULT_QUALITY[encoding])  # type: ignore[arg-type]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.encodings", description="Size, loss and speed of the encodings of shards.")
    parser.add_argument("recording", type=Path, help="a video, or a folder of pictures")
    parser.add_argument("--encoding", type=_option, action="append", help="jpeg, webp, png or h264, with =QUALITY; can be given several times")
    args = parser.parse_args(arguments)
    try:
        clip = read_frames(args.recording)
    except RecordingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{min(clip.num_frames, MOST_FRAMES)} pictures of {clip.width} × {clip.height}\n\n{HEAD}", flush=True)
    for row in rows(clip, args.encoding or [_option(text) for text in CHOICES]):
        print(row, flush=True)
    return 0


if __name__ == "__main__":
    cv2.setNumThreads(1)
    sys.exit(main())
