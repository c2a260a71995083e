"""The process that decodes videos, and estimates keypoints in them: what damaged bytes do to a decoder ends this process and nothing else.

Requests come as a line of JSON and the video's bytes on standard input; answers go as a line of JSON and raw arrays to standard output. Nothing is pickled,
so that a decoder that was taken over can send no more than numbers. `decoder.py` starts it, and kills it where it takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.errors import PoseModelError, RecordingError
from models.inputs.frames import EncodedPictures, Frames
from models.media import VideoLimits, parse_video
from models.pose import PoseEstimator, pose_estimator
from models.pose_geometry import Box


def main(arguments: Sequence[str]) -> None:
    """arguments: bytes of memory that this process may take, then the pose model and the person detector, where there are any."""
    memory, *files = arguments
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    estimator = pose_estimator(*map(Path, files)) if files else None
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        answer(request, sys.stdin.buffer.read(request["size"]), estimator, answers)


def answer(request: Mapping[str, Any], content: bytes, estimator: PoseEstimator | None, out: BinaryIO) -> None:
    """Decode one video and write what was asked for."""
    head, arrays = decoded(request, content, estimator)
    out.write(json.dumps({**head, "shapes": {name: array.shape for name, array in arrays.items()}}).encode() + b"\n")
    for array in arrays.values():
        out.write(array.tobytes())
    out.flush()


def decoded(request: Mapping[str, Any], content: bytes, estimator: PoseEstimator | None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Facts of the video, and `frames` (T, H, W, 3) uint8 and `keypoints` (T, K, 3) float32 as they were asked for; or a problem's code and detail."""
    name, wanted, box = request["name"], request["wanted"], request["box"] and Box(**request["box"])
    try:
        frames, fps = _opened(request, content)
        if reason := _too_large(frames, fps, request):
            return {"code": "too-large", "detail": f"{name}: {reason}"}, {}
        arrays: dict[str, np.ndarray] = {}
        if "keypoints" in wanted:
            assert estimator is not None
            box = box or estimator.signer_box(frames)
            arrays["keypoints"] = estimator.estimate(frames, box=box).astype("<f4")
        if "frames" in wanted:
            arrays["frames"] = frames.decode(range(frames.num_frames))
    except MemoryError:
        return {"code": "too-large", "detail": f"{name}: takes more memory than the service has for a video"}, {}
    except RecordingError as error:
        return {"code": "unreadable", "detail": str(error)}, {}
    except PoseModelError as error:
        return {"code": "internal", "detail": str(error)}, {}
    return {"fps": fps, "frame_size": frames.size, "num_frames": frames.num_frames, "box": box and asdict(box)}, arrays


def _opened(request: Mapping[str, Any], content: bytes) -> tuple[Frames, float | None]:
    """The frames of a video, or of pictures, and how many there are in a second, where that is known. Nothing is decoded yet."""
    if lengths := request["pictures"]:
        ends = list(accumulate(lengths))
        pictures = [content[end - length : end] for length, end in zip(lengths, ends, strict=True)]
        return EncodedPictures(pictures=pictures, size=tuple(request["frame_size"])), None
    video = parse_video(content, request["name"], limits=VideoLimits(max_frames=request["max_frames"], max_pixels=request["max_pixels"]))
    return video.frames, video.fps


def _too_large(frames: Frames, fps: float | None, request: Mapping[str, Any]) -> str | None:
    if fps and frames.num_frames / fps > request["max_seconds"]:
        return f"{frames.num_frames / fps:.0f} s, and the service takes videos of up to {request['max_seconds']:g} s"
    width, height = frames.size
    num_bytes = frames.num_frames * width * height * 3
    if "frames" in request["wanted"] and num_bytes > request["max_bytes"]:
        return f"{num_bytes >> 20} MiB of pictures, and the service takes {request['max_bytes'] >> 20}: send a smaller or a shorter video"
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
