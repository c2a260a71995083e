"""A recording → the row of a shard, or why there is none."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.errors import RecordingError
from models.media import read_keypoints
from models.pose import PoseEstimator
from workloads.corpora.corpus import Rejection
from workloads.corpora.recording import Recording
from workloads.estimation import estimated
from workloads.frame_encoding import EncodedClip, FrameOptions, cut_keypoints, encode_clip
from workloads.validation import recording_problem


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A recording in memory: its keypoints read, its pictures encoded."""

    recording: Recording
    pictures: EncodedClip | None

    @property
    def num_frames(self) -> int:
        if self.recording.keypoints is not None:
            return len(self.recording.keypoints)
        return len(self.pictures.chosen) if self.pictures else 0


def load(recording: Recording, num_keypoints: int, frames: FrameOptions | None, pose: PoseEstimator | None = None) -> Loaded | Rejection:
    """The recording, read and checked. frames: what its pictures become; None leaves them. pose: estimates keypoints of one that is only filmed."""
    problem = _early_problem(recording)
    if problem is None:
        try:
            loaded = _filmed(_with_keypoints(recording, pose), frames)
        except RecordingError as error:
            problem = f"unreadable file: {error}"
        else:
            problem = recording_problem(loaded.recording, num_keypoints, loaded.num_frames)
            if problem is None:
                return loaded
    where = f" in {recording.path}" if recording.path and not problem.startswith("unreadable file") else ""
    return Rejection(name=recording.name, split=recording.split, reason=problem + where)


def row(loaded: Loaded) -> dict[str, Any]:
    """The recording as `workloads.shards.SCHEMA` has it."""
    recording, pictures = loaded.recording, loaded.pictures
    keypoints = recording.keypoints
    return {
        "name": recording.name,
        "split": recording.split,
        "signer": recording.signer,
        "gloss": list(recording.glosses) if recording.glosses else None,
        "label": recording.label,
        "text": recording.text,
        "fps": recording.fps,
        "width": recording.width,
        "height": recording.height,
        "n_frames": loaded.num_frames,
        "keypoints": None if keypoints is None else np.ascontiguousarray(keypoints, dtype=np.float32).reshape(-1),
        "extractor": None if keypoints is None else recording.extractor,
        "frames": pictures.pictures if pictures else None,
        "frames_form": pictures.form if pictures else None,
        "frames_width": pictures.size[0] if pictures else None,
        "frames_height": pictures.size[1] if pictures else None,
    }


def num_bytes(entry: dict[str, Any]) -> int:
    """About how much of a shard a row takes."""
    keypoints = entry["keypoints"]
    return (0 if keypoints is None else keypoints.nbytes) + sum(map(len, entry["frames"] or ()))


def _early_problem(recording: Recording) -> str | None:
    """What is known before anything is decoded."""
    if recording.split == "train" and not (recording.glosses or recording.label):
        return "empty gloss: a training recording needs glosses or a label"
    return None


def _with_keypoints(recording: Recording, pose: PoseEstimator | None) -> Recording:
    if recording.keypoints is not None:
        return recording
    if recording.path is not None:
        file = read_keypoints(recording.path)
    elif pose is not None and recording.filmed is not None:
        file = estimated(pose, recording.filmed(), recording.name, quiet=True)  # the shards' own bar tells how far the parts are
        recording = dataclasses.replace(recording, width=file.width, height=file.height)  # places are of the film, whatever the manifest says
    else:
        return recording
    return dataclasses.replace(
        recording,
        keypoints=file.keypoints,
        extractor=file.extractor,
        fps=recording.fps or file.fps,
        width=recording.width or file.width,
        height=recording.height or file.height,
    )


def _filmed(recording: Recording, options: FrameOptions | None) -> Loaded:
    if recording.filmed is None or options is None:
        return Loaded(recording=recording, pictures=None)
    clip = recording.filmed()
    keypoints = recording.keypoints
    if keypoints is not None and len(keypoints) != clip.num_frames:
        raise RecordingError(f"{len(keypoints)} frames of keypoints, and {clip.num_frames} pictures: they belong to different cuts of the recording")
    width, height = recording.width or clip.width, recording.height or clip.height
    if options.crop:
        if (width, height) != clip.frames.size:
            raise RecordingError(f"a crop in pixels of {clip.width} × {clip.height}, and keypoints of {width} × {height}: estimate them on the pictures")
        width, height = options.crop[2] - options.crop[0], options.crop[3] - options.crop[1]
    pictures = encode_clip(clip, options, recording.fps)
    changed = dataclasses.replace(
        recording,
        keypoints=None if keypoints is None else cut_keypoints(keypoints, options)[pictures.chosen],
        fps=pictures.fps,
        width=width,
        height=height,
    )
    return Loaded(recording=changed, pictures=pictures)
