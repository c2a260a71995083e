"""Keypoints that a pose model estimates where a clip has none, and a word of warning where they come from another one than a network learned from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from models.bundle import Bundle
from models.ensemble import Ensemble
from models.errors import CorpusError
from models.media import KeypointClip, VideoClip
from models.pose import PoseEstimator, pose_estimator

POSE_HELP = "whole-body RTMPose or RTMW as an ONNX file: estimates the keypoints of videos and folders of pictures (extra rtm)"
DETECTOR_HELP = "with --pose: YOLOX or RTMDet as an ONNX file, which finds the signer (default: the whole picture is taken)"

Warn = Callable[[str], None]


def to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def extractor_warning(found: Collection[str], trained_on: Collection[str], *, where: str) -> str | None:
    """What is to be told where keypoints come from other estimators than those that a network learned from; None where they don't, or nobody knows."""
    strange = sorted(set(found) - set(trained_on))
    if not strange:
        return None
    known = f"keypoints by {', '.join(sorted(trained_on))}" if trained_on else "keypoints whose estimator it doesn't name"
    return f"warning: {where}: keypoints by {', '.join(strange)}, and the network learned from {known}: expect more errors"


@dataclass(frozen=True, kw_only=True, eq=False)
class ExtractorCheck:
    """Warns once of each estimator of keypoints that isn't among those that a network learned from."""

    trained_on: Collection[str]
    warn: Warn = to_stderr
    _told: set[str] = field(default_factory=set, init=False)

    def __call__(self, keypoints: KeypointClip, where: str) -> None:
        extractor = keypoints.extractor
        if extractor and extractor not in self._told:
            self._told.add(extractor)
            if message := extractor_warning([extractor], self.trained_on, where=where):
                self.warn(message)


def estimated(pose: PoseEstimator, film: VideoClip, name: str, *, quiet: bool = False) -> KeypointClip:
    """The keypoints of a film, with a bar of its frames on a terminal unless `quiet`. Errors: as of `PoseEstimator.estimate`."""
    terminal = Console(stderr=True)
    with Progress(console=terminal, disable=quiet or not terminal.is_terminal, transient=True) as progress:
        task = progress.add_task(f"keypoints of {Path(name).name}", total=film.num_frames)
        keypoints = pose.estimate(film.frames, watch=lambda num_frames: progress.advance(task, num_frames))
    return KeypointClip(keypoints=keypoints, fps=film.fps, width=film.width, height=film.height, extractor=pose.extractor)


def chosen_pose(given: argparse.Namespace) -> PoseEstimator | None:
    """The estimator of --pose and --detector. Raises PoseModelError for files that are missing, CorpusError for a detector without a model."""
    if given.pose is None and given.detector is not None:
        raise CorpusError(f"--detector {given.detector} goes with --pose MODEL.onnx: it finds the signer for that")
    return None if given.pose is None else pose_estimator(given.pose, given.detector)


def pose_for(bundle: Bundle | Ensemble, given: argparse.Namespace, *, warn: Warn = to_stderr) -> PoseEstimator | None:
    """The estimator for a bundle's clips; None, with a warning, where the bundle reads no keypoints."""
    pose = chosen_pose(given)
    if pose is not None and "keypoints" not in bundle.modalities:
        warn(f"warning: --pose {given.pose} is not used: {bundle.system} reads no keypoints")
        return None
    return pose


def add_pose_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pose", type=Path, metavar="MODEL.onnx", help=POSE_HELP)
    parser.add_argument("--detector", type=Path, metavar="MODEL.onnx", help=DETECTOR_HELP)
