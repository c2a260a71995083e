"""Recordings → clips for a bundle: keypoint files, videos and folders of pictures, read as far as the bundle looks at them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from models.answering import Unanswered
from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.inputs import Modality
from models.media import VIDEO_SUFFIXES, KeypointClip, VideoClip, read_frames, read_keypoints
from models.pose import PoseEstimator
from workloads.corpora.corpus import Rejection
from workloads.corpora.manifest import read_manifest
from workloads.corpora.recording import Recording
from workloads.estimation import estimated
from workloads.shards import KEYPOINTS_ONLY

Check = Callable[[KeypointClip, str], None]  # keypoints, and what they are called


def listed(files: Sequence[Path], manifest: Path | None, *, size: tuple[int, int] | None, fps: float | None) -> list[Recording | Rejection]:
    """The files given, named by their paths, and the manifest's recordings. Raises CorpusError for a manifest that can't be read."""
    width, height = size or (None, None)
    found: list[Recording | Rejection] = [
        Recording(
            name=str(file),
            split="",
            path=None if is_filmed(file) else file,
            filmed=partial(read_frames, file) if is_filmed(file) else None,
            fps=fps,
            width=width,
            height=height,
        )
        for file in files
    ]
    if manifest is not None:
        found += read_manifest(manifest, {}).recordings()
    return found


def is_filmed(path: Path) -> bool:
    """Whether it is a video or a folder of pictures, by its name."""
    return path.is_dir() or path.suffix.lower() in VIDEO_SUFFIXES


def read_clips(
    recordings: Iterable[Recording | Rejection],
    modalities: Sequence[Modality] = KEYPOINTS_ONLY,
    *,
    pose: PoseEstimator | None = None,
    check: Check = lambda keypoints, where: None,
) -> Iterator[Clip | Unanswered]:
    """The clips of recordings with these modalities, read one at a time; one that can't be read gives its reason.

    What a recording says of fps and frame size goes before what its files say. pose: estimates keypoints of what is only filmed; check: sees all keypoints.
    """
    for recording in recordings:
        if isinstance(recording, Rejection):
            yield Unanswered(name=recording.name, reason=recording.reason)
            continue
        try:
            yield read_clip(recording, modalities, pose=pose, check=check)
        except RecordingError as error:
            yield Unanswered(name=recording.name, reason=str(error))


def read_clip(
    recording: Recording,
    modalities: Sequence[Modality] = KEYPOINTS_ONLY,
    *,
    pose: PoseEstimator | None = None,
    check: Check = lambda keypoints, where: None,
) -> Clip:
    """The clip of one recording; where `pose` has estimated its keypoints, with its pictures, too.

    Raises RecordingError where a modality is missing or can't be read, or where the two don't fit each other; PoseModelError for a pose model of another kind.
    """
    estimates = pose is not None and "keypoints" in modalities and recording.path is None
    filmed = _filmed(recording) if "frames" in modalities or estimates else None
    file = None
    if "keypoints" in modalities:
        file = estimated(pose, filmed, recording.name) if estimates and pose and filmed else _keypoints(recording)
        check(file, str(recording.path or recording.name))
    if filmed and file and filmed.num_frames != len(file.keypoints):
        raise RecordingError(f"{len(file.keypoints)} frames of keypoints, and {filmed.num_frames} pictures: they belong to different cuts of the recording")
    width = recording.width or (file and file.width) or (filmed and filmed.width)
    height = recording.height or (file and file.height) or (filmed and filmed.height)
    if not width or not height:
        raise RecordingError(f"frame size unknown: {recording.path} doesn't say it; add frame_size to the file, or give --frame-size WIDTHxHEIGHT")
    num_frames = len(file.keypoints) if file else filmed.num_frames if filmed else 0
    return Clip(
        name=recording.name,
        keypoints=file.keypoints if file else np.zeros((num_frames, 0, 3), np.float32),
        frames=filmed.frames if filmed else None,
        frame_size=(width, height),
        glosses=recording.glosses,
        label=recording.label,
        text=recording.text,
        signer=recording.signer,
        fps=recording.fps or (file and file.fps) or (filmed and filmed.fps) or None,
    )


def _filmed(recording: Recording) -> VideoClip:
    if recording.filmed is None:
        raise RecordingError(f"needs pictures: {recording.path} holds keypoints; give the video, or the folder of its pictures")
    return recording.filmed()


def _keypoints(recording: Recording) -> KeypointClip:
    if recording.path is not None:
        return read_keypoints(recording.path)
    filmed = recording.filmed
    path = filmed.args[0] if isinstance(filmed, partial) else recording.name
    what = "a folder" if isinstance(path, Path) and path.is_dir() else "a video"
    raise RecordingError(f"needs keypoints: {path} is {what}; give a pose model with --pose, or the signer's keypoints as .npz or .pose")
