"""Where the signer is: person detectors as mmdeploy exports them (YOLOX, RTMDet), boxes and labels after suppression."""

from __future__ import annotations

import cv2
import numpy as np

from models.errors import PoseModelError, RecordingError
from models.onnx_session import OnnxModel
from models.pose_geometry import Box

GREY = 114  # what is left of the input beside the picture
LEAST_SCORE = 0.3
PERSON = 0  # COCO's label
# YOLOX takes raw pixels, RTMDet normalised ones; both of blue, green, red. Nothing in the file tells which it is but its name.
KINDS: dict[str, tuple[np.ndarray, np.ndarray]] = {
    "yolox": (np.zeros(3, np.float32), np.ones(3, np.float32)),
    "rtmdet": (np.array([103.53, 116.28, 123.675], np.float32), np.array([57.375, 57.12, 58.395], np.float32)),
}


def signer_box(detector: OnnxModel, pictures_THWC: np.ndarray) -> Box:
    """The box of the largest person of each picture (uint8 RGB), all of them together: one still crop for the clip, since a signer stays in place.

    Raises RecordingError where nobody is found, PoseModelError for a detector of another kind.
    """
    boxes = [box for picture in pictures_THWC if (box := _largest(detector, picture)) is not None]
    if not boxes:
        raise RecordingError(f"nobody found in {len(pictures_THWC)} frames by {detector.path.name}")
    whole = boxes[0]
    for box in boxes[1:]:
        whole = whole.union(box)
    return whole


def _largest(detector: OnnxModel, picture: np.ndarray) -> Box | None:
    outputs = detector.run(_letterbox(detector, picture))
    if len(outputs) != 2 or outputs[0].ndim != 3 or outputs[0].shape[2] != 5 or outputs[1].shape != outputs[0].shape[:2]:
        shapes = ", ".join(str(output.shape) for output in outputs)
        raise PoseModelError(f"{detector.path}: answers {shapes}, and boxes (1, N, 5) with labels (1, N) are expected: take a file that ends in suppression")
    boxes, labels = outputs[0][0], outputs[1][0]
    boxes = boxes[(labels == PERSON) & (boxes[:, 4] >= LEAST_SCORE)]
    if not len(boxes):
        return None
    left, top, right, bottom, _ = max(boxes.tolist(), key=lambda box: (box[2] - box[0]) * (box[3] - box[1]))
    scale = _scale(detector, picture)
    return Box(left=left / scale, top=top / scale, right=right / scale, bottom=bottom / scale)


def _scale(detector: OnnxModel, picture: np.ndarray) -> float:
    width, height = detector.input_size
    rows, columns = picture.shape[:2]
    return float(min(width / columns, height / rows))


def _letterbox(detector: OnnxModel, picture: np.ndarray) -> np.ndarray:
    """The picture in the input's upper left corner, its shape kept: float32 (1, 3, height, width), blue first."""
    kind = next((kind for kind in KINDS if kind in detector.path.name.lower()), None)
    if kind is None:
        raise PoseModelError(f"{detector.path}: its name says neither {' nor '.join(KINDS)}, and each wants its own scale of pixels: rename the file")
    mean, deviation = KINDS[kind]
    scale = _scale(detector, picture)
    resized = cv2.resize(picture, (round(picture.shape[1] * scale), round(picture.shape[0] * scale)), interpolation=cv2.INTER_LINEAR)
    padded = np.full((detector.input_size[1], detector.input_size[0], 3), GREY, dtype=np.float32)
    padded[: resized.shape[0], : resized.shape[1]] = resized[..., ::-1]
    scaled: np.ndarray = ((padded - mean) / deviation).astype(np.float32)
    return scaled.transpose(2, 0, 1)[None]
