"""ONNX files run by onnxruntime, an optional library: one session per file and process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import PoseModelError

DIGEST_LETTERS = 12


@dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """A model with one input of pictures (N, 3, height, width), float32. batch: how many it takes at once; None: any number."""

    path: Path
    session: Any
    input_name: str
    input_size: tuple[int, int]
    batch: int | None

    def run(self, pictures_N3HW: np.ndarray) -> list[np.ndarray]:
        """Its outputs, each (N, ...); a model of a fixed batch runs as often as needed. Raises PoseModelError where it can't."""
        step = self.batch or len(pictures_N3HW)
        parts = [self._run(pictures_N3HW[start : start + step]) for start in range(0, len(pictures_N3HW), step)]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    def _run(self, pictures: np.ndarray) -> list[np.ndarray]:
        missing = (self.batch or 0) - len(pictures)
        fed = np.concatenate([pictures, np.repeat(pictures[-1:], missing, axis=0)]) if missing > 0 else pictures
        try:
            outputs = self.session.run(None, {self.input_name: fed})
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise PoseModelError(f"{self.path}: fails on pictures of {self.input_size[0]} × {self.input_size[1]} ({_line(error)})") from None
        return [output[: len(pictures)] for output in outputs]


@lru_cache(maxsize=4)
def open_model(path: Path) -> OnnxModel:
    """The model of a file. Raises PoseModelError where it is damaged, or where its input is no picture of a fixed size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
    options.log_severity_level = 3
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[name for name in wanted if name in onnxruntime.get_available_providers()])
    except Exception as error:
        raise PoseModelError(f"{path}: not a readable ONNX model ({_line(error)}): fetch it again") from None
    first, *others = session.get_inputs()
    shape = first.shape
    if others or first.type != "tensor(float)" or len(shape) != 4 or shape[1] != 3 or not _fixed(shape[2:]):
        raise PoseModelError(f"{path}: takes {first.type} {shape}, and float pictures (N, 3, height, width) of a fixed size are expected: another model")
    return OnnxModel(path=path, session=session, input_name=first.name, input_size=(shape[3], shape[2]), batch=shape[0] if isinstance(shape[0], int) else None)


@lru_cache(maxsize=16)
def model_name(path: Path) -> str:
    """`name@version`: the file's name without its suffix and the begin of its SHA-256."""
    with path.open("rb") as file:
        return f"{path.stem}@{hashlib.file_digest(file, 'sha256').hexdigest()[:DIGEST_LETTERS]}"


def _fixed(sides: Sequence[object]) -> bool:
    return all(isinstance(side, int) and side > 0 for side in sides)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
