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
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from models.errors import PoseModelError, RecordingError
from models.media import VideoClip, VideoLimits, parse_video
from models.pose import PoseEstimator, pose_estimator


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
    name, wanted = request["name"], request["wanted"]
    try:
        video = parse_video(content, name, limits=VideoLimits(max_frames=request["max_frames"], max_pixels=request["max_pixels"]))
        if reason := _too_large(video, request):
            return {"code": "too-large", "detail": f"{name}: {reason}"}, {}
        arrays: dict[str, np.ndarray] = {}
        if "keypoints" in wanted:
            assert estimator is not None
            arrays["keypoints"] = estimator.estimate(video.frames).astype("<f4")
        if "frames" in wanted:
            arrays["frames"] = video.frames.decode(range(video.num_frames))
    except MemoryError:
        return {"code": "too-large", "detail": f"{name}: takes more memory than the service has for a video"}, {}
    except RecordingError as error:
        return {"code": "unreadable", "detail": str(error)}, {}
    except PoseModelError as error:
        return {"code": "internal", "detail": str(error)}, {}
    return {"fps": video.fps, "frame_size": [video.width, video.height], "num_frames": video.num_frames}, arrays


def _too_large(video: VideoClip, request: Mapping[str, Any]) -> str | None:
    if video.fps and video.num_frames / video.fps > request["max_seconds"]:
        return f"{video.num_frames / video.fps:.0f} s, and the service takes videos of up to {request['max_seconds']:g} s"
    num_bytes = video.num_frames * video.width * video.height * 3
    if "frames" in request["wanted"] and num_bytes > request["max_bytes"]:
        return f"{num_bytes >> 20} MiB of pictures, and the service takes {request['max_bytes'] >> 20}: send a smaller or a shorter video"
    return None


if __name__ == "__main__":
    main(sys.argv[1:])
