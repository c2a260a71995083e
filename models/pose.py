"""Estimates a signer's 133 whole-body keypoints (COCO-WholeBody order) in the pictures of a clip, by RTMPose or RTMW as ONNX files.

onnxruntime runs the files (extra `rtm`). The library rtmlib would add nothing but the downloads: it needs the full OpenCV beside our headless
one, works on one picture at a time, and hands blue, green, red to models that were trained on red, green, blue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from models.errors import PoseModelError
from models.inputs.frames import Frames
from models.onnx_session import model_name, open_model
from models.person_boxes import signer_box
from models.pose_geometry import PADDING, Box, Crop

NUM_KEYPOINTS = 133
CHUNK_FRAMES = 16  # pictures that are decoded and estimated at a time
DETECTED_FRAMES = 8  # of a clip, evenly spread: where the detector looks for the signer
ARCHIVE = "https://download.openmmlab.com/mmpose/v1/projects"
POSE_FILE = f"{ARCHIVE}/rtmw/onnx_sdk/rtmw-dw-x-l_simcc-cocktail14_270e-384x288_20231122.zip"
DETECTOR_FILE = f"{ARCHIVE}/rtmposev1/onnx_sdk/yolox_m_8xb8-300e_humanart-c2c7a14a.zip"

Watch = Callable[[int], None]  # is told how many frames were done, chunk by chunk


@dataclass(frozen=True, kw_only=True)
class PoseEstimator:
    """Keypoints by the files `model` and, where it is given, `detector`; without one the whole picture is the signer's box.

    It may travel to other processes: each opens the files at its first clip. Use `pose_estimator` to make one that was checked.
    """

    model: Path
    detector: Path | None = None
    padding: float = PADDING

    @property
    def extractor(self) -> str:
        """Name and version of what estimates, for shards and bundles: `model@sha256`, then `+detector@sha256`."""
        return "+".join(model_name(path) for path in (self.model, self.detector) if path is not None)

    def estimate(self, frames: Frames, *, watch: Watch = lambda num_frames: None, box: Box | None = None) -> np.ndarray:
        """Keypoints (T, 133, 3) float32 of a clip: x, y in pixels of its pictures, confidence. box: where the signer is, instead of `signer_box`.

        Raises RecordingError where a picture can't be decoded or nobody is found, PoseModelError for files of another kind.
        """
        crop = Crop.around(box or self.signer_box(frames), open_model(self.model).input_size, padding=self.padding)
        parts = []
        for start in range(0, frames.num_frames, CHUNK_FRAMES):
            indices = np.arange(start, min(start + CHUNK_FRAMES, frames.num_frames))
            parts.append(self._keypoints(frames.decode(indices), crop))
            watch(len(indices))
        return np.concatenate(parts) if parts else np.empty((0, NUM_KEYPOINTS, 3), np.float32)

    def signer_box(self, frames: Frames) -> Box:
        """Where the signer is in a clip: all of the picture without a detector. Raises RecordingError where nobody is found."""
        if self.detector is None or not frames.num_frames:
            return Box(left=0, top=0, right=frames.size[0], bottom=frames.size[1])
        looked_at = np.unique(np.linspace(0, frames.num_frames - 1, DETECTED_FRAMES).round().astype(int))
        return signer_box(open_model(self.detector), frames.decode(looked_at))

    def _keypoints(self, pictures_THWC: np.ndarray, crop: Crop) -> np.ndarray:
        outputs = open_model(self.model).run(crop.cut(pictures_THWC))
        if len(outputs) != 2 or any(output.ndim != 3 or output.shape[1] != NUM_KEYPOINTS for output in outputs):
            shapes = ", ".join(str(output.shape) for output in outputs)
            raise PoseModelError(
                f"{self.model}: answers {shapes}, and SimCC of {NUM_KEYPOINTS} points over columns and rows is expected: take a whole-body RTMPose or RTMW"
            )
        return crop.places(*outputs)


def pose_estimator(model: Path, detector: Path | None = None) -> PoseEstimator:
    """The estimator of these files. Raises PoseModelError, in one line that says what to install and fetch, where something is missing."""
    wanted = [("pose model", model, POSE_FILE), *([("person detector", detector, DETECTOR_FILE)] if detector is not None else [])]
    missing = [f"{path}: no such {what}: fetch {source} and put its end2end.onnx there" for what, path, source in wanted if not path.is_file()]
    if find_spec("onnxruntime") is None:
        missing.insert(0, "estimating keypoints needs the extra 'rtm': pip install 'signray[rtm]'")
    if missing:
        raise PoseModelError("; ".join(missing))
    return PoseEstimator(model=model.resolve(), detector=None if detector is None else detector.resolve())
