"""The sample clips of a bundle, to try it on: keypoint files that carry their annotation, each with a video beside it where there are pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.errors import BundleError
from models.inputs.clip import Clip
from models.inputs.frames import Frames
from models.media.segment import VideoSegment, encoded_segment
from models.media.video import parse_video

SAMPLES_FOLDER = "samples"
RATE_FACTOR = 16  # of H.264: what shards lose of a picture by default
CHUNK = 32  # pictures that are decoded at a time


def write_samples(folder: Path, clips: Sequence[Clip]) -> None:
    """One `.npz` a clip, in the layout of keypoint files with `name`, `glosses`, `text` and `signer` beside, and an `.mp4` of its pictures that browsers play.

    Equal clips give equal bytes.
    """
    if clips:
        folder.mkdir()
    for number, clip in enumerate(clips):
        stem = f"{number:02d}_{re.sub(r'[^A-Za-z0-9-]+', '_', clip.name)[:60]}"
        if clip.frames is not None:
            (folder / f"{stem}.mp4").write_bytes(_film(clip.frames, clip.fps))
        arrays: dict[str, np.ndarray] = {
            "keypoints": clip.keypoints.astype(np.float32),
            "frame_size": np.array(clip.frame_size, dtype=np.int32),
            "name": np.array(clip.name),
            "signer": np.array(clip.signer),
        }
        if clip.fps is not None:
            arrays["fps"] = np.array(clip.fps)
        if clip.glosses is not None:
            arrays["glosses"] = np.array(clip.glosses, dtype=np.str_)
        if clip.text is not None:
            arrays["text"] = np.array(clip.text)
        np.savez_compressed(folder / f"{stem}.npz", allow_pickle=False, **arrays)


def _film(frames: Frames, fps: float | None) -> bytes:
    width, height = frames.size
    even = not (width % 2 or height % 2)
    pictures = (picture for start in range(0, frames.num_frames, CHUNK) for picture in frames.decode(range(start, min(start + CHUNK, frames.num_frames))))
    return encoded_segment(pictures, frames.size, fps, RATE_FACTOR, full_colour=not even)


def read_sample(path: Path) -> Clip:
    """The clip of one sample's `.npz`, with the pictures beside it. Raises BundleError where it can't be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Clip(
                name=str(arrays["name"]),
                keypoints=arrays["keypoints"],
                frames=_frames(path.with_suffix(".mp4")),
                frame_size=(int(arrays["frame_size"][0]), int(arrays["frame_size"][1])),
                glosses=tuple(arrays["glosses"].tolist()) if "glosses" in arrays else None,
                text=str(arrays["text"]) if "text" in arrays else None,
                signer=str(arrays["signer"]),
                fps=float(arrays["fps"]) if "fps" in arrays else None,
            )
    except Exception as error:  # zip, zlib and numpy raise whatever the damaged bytes lead to
        raise BundleError(f"{path}: not a readable sample ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None


def _frames(path: Path) -> VideoSegment | None:
    if not path.exists():
        return None
    content = path.read_bytes()
    frames = parse_video(content, path.name).frames
    return VideoSegment(content=content, num_frames=frames.num_frames, size=frames.size)
