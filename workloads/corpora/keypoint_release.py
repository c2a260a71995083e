"""The format in which TwoStreamSLT and MSKA published keypoints and annotation (mska.md, section 1).

One pickle per split, `<stem>.train`, `<stem>.dev` and `<stem>.test`, side by side in one folder, each a dict from sample name to
name, gloss, text, num_frames, keypoint (tensor (T, 133, 3): x, y in pixels, confidence) and, in some releases, signer;
`gloss2ids.pkl` beside them where the vocabulary is published. File names are found whatever their case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.errors import CorpusError
from models.pickles import load_pickle
from workloads.corpora.corpus import Corpus, Part, Rejection, file_digest, text_digest
from workloads.corpora.recording import Recording

SPLITS = ("train", "dev", "test")
VOCABULARY = "gloss2ids.pkl"


@dataclass(frozen=True, kw_only=True)
class KeypointRelease:
    """What a published corpus's files don't say themselves. `signer_of` finds the signer in a name where the annotation has none."""

    corpus: str
    stem: str
    licence: str
    width: int
    height: int
    lower_case: bool
    fps: float | None = None
    signer_of: Callable[[str], str] | None = None


def read_release(release: KeypointRelease, source: Path | None, options: Mapping[str, str]) -> Corpus:
    """The corpus in folder `source`. Errors: CorpusError where the folder or one of its three files is missing, or for any option."""
    if options:
        raise CorpusError(f"corpus {release.corpus} has no options, and {', '.join(options)} was set")
    if source is None:
        raise CorpusError(f"corpus {release.corpus} needs --source: the folder of {', '.join(f'{release.stem}.{split}' for split in SPLITS)}")
    if not source.is_dir():
        raise CorpusError(f"{source}: no such folder; corpus {release.corpus} is read from the folder of {release.stem}.train, .dev and .test")
    present = {path.name.lower(): path for path in sorted(source.iterdir()) if path.is_file()}
    files = {split: present.get(f"{release.stem}.{split}".lower()) for split in SPLITS}
    missing = [f"{release.stem}.{split}" for split, path in files.items() if path is None]
    if missing:
        raise CorpusError(f"{source}: {', '.join(missing)} missing; corpus {release.corpus} needs all of train, dev and test")
    paths = {split: path.resolve() for split, path in files.items() if path is not None}
    return Corpus(
        name=release.corpus,
        licence=release.licence,
        lower_case=release.lower_case,
        fingerprint=text_digest(" ".join(file_digest(path) for path in paths.values())),
        parts=tuple(Part(split=split, read=partial(_split_recordings, path, split, release), num_bytes=path.stat().st_size) for split, path in paths.items()),
        vocabulary=present.get(VOCABULARY),
    )


def _split_recordings(path: Path, split: str, release: KeypointRelease) -> Iterator[Recording | Rejection]:
    samples = load_pickle(path)
    if not isinstance(samples, dict):
        raise CorpusError(f"{path}: holds a {type(samples).__name__}, and a dict from sample name to sample is expected")
    for key in list(samples):
        sample = samples.pop(key)  # lets go of the split's memory as the shards grow
        yield _recording(str(key), sample, split, release)


def _recording(key: str, sample: Any, split: str, release: KeypointRelease) -> Recording | Rejection:
    keypoints = keypoints_of(sample)
    if keypoints is None:
        return Rejection(name=key, split=split, reason="no keypoints: the sample needs 'keypoint', a tensor of frames x points x 3")
    name = str(sample.get("name", key))
    gloss, text, signer = (sample.get(field) for field in ("gloss", "text", "signer"))
    return Recording(
        name=name,
        split=split,
        signer=str(signer) if signer else release.signer_of(name) if release.signer_of else "",
        keypoints=keypoints,
        glosses=tuple(gloss.split()) or None if isinstance(gloss, str) else None,
        text=None if text is None else str(text),
        fps=release.fps,
        width=release.width,
        height=release.height,
    )


def keypoints_of(sample: Any) -> np.ndarray | None:
    """A sample's keypoints (T, K, 3), under the name that either repository gave them; None where it has none."""
    value = sample.get("keypoint", sample.get("keypoints")) if isinstance(sample, dict) else None
    if isinstance(value, torch.Tensor):
        return value.float().numpy()
    return value.astype(np.float32) if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else None
