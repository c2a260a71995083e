"""The sample clips of a bundle: keypoint files that carry their annotation, to try the bundle on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.errors import BundleError
from models.inputs.clip import Clip

SAMPLES_FOLDER = "samples"


def write_samples(folder: Path, clips: Sequence[Clip]) -> None:
    """One `.npz` a clip, in the layout of keypoint files with `name`, `glosses`, `text` and `signer` beside; equal clips give equal bytes."""
    if clips:
        folder.mkdir()
    for number, clip in enumerate(clips):
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
        np.savez_compressed(folder / f"{number:02d}_{re.sub(r'[^A-Za-z0-9-]+', '_', clip.name)[:60]}.npz", allow_pickle=False, **arrays)


def read_sample(path: Path) -> Clip:
    """The clip of one sample file. Raises BundleError where it can't be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Clip(
                name=str(arrays["name"]),
                keypoints=arrays["keypoints"],
                frame_size=(int(arrays["frame_size"][0]), int(arrays["frame_size"][1])),
                glosses=tuple(arrays["glosses"].tolist()) if "glosses" in arrays else None,
                text=str(arrays["text"]) if "text" in arrays else None,
                signer=str(arrays["signer"]),
                fps=float(arrays["fps"]) if "fps" in arrays else None,
            )
    except Exception as error:  # zip, zlib and numpy raise whatever the damaged bytes lead to
        raise BundleError(f"{path}: not a readable sample ({type(error).__name__}: {' '.join(str(error).split())[:100]})") from None
