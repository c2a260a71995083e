"""From the body of a request to a clip: limits before anything is decoded, no pickles, no files; a name is a label and never a path."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import Request

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.media import KEYPOINT_READERS, VIDEO_SUFFIXES, KeypointClip, parse_keypoints
from serve.forms import form_file
from serve.problems import ProblemError, invalid_parameters
from serve.schemas import KeypointFacts
from serve.settings import ServeSettings

JSON = ".json"
KINDS = {
    "application/json": JSON,
    "application/x-npz": ".npz",
    "application/zip": ".npz",
    "application/x-pose": ".pose",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
}
BY_NAME = ("application/octet-stream", "multipart/form-data")  # the file's name or its first bytes say the kind
TAKEN = ", ".join((*KINDS, *BY_NAME))
_ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the request says of the clip beside its body; it goes before what the file says."""

    name: str | None
    frame_size: tuple[int, int] | None
    fps: float | None


async def read_body(request: Request, settings: ServeSettings) -> bytes:
    """The whole body. Raises ProblemError where it is too large, announced or in fact, or takes too long to arrive."""
    limit = max(settings.max_body_bytes, settings.max_video_bytes) if settings.video else settings.max_body_bytes
    too_large = ProblemError("too-large", f"the body is larger than {limit} bytes: send .npz, or a shorter clip")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limit:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise ProblemError("body-timeout", f"the body didn't arrive within {settings.body_timeout_s:g} s") from None
    return bytes(body)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What came, and as what: a name for answers, and the suffix of its kind."""

    name: str
    kind: str
    content: bytes = field(repr=False)

    @property
    def is_video(self) -> bool:
        return self.kind in VIDEO_SUFFIXES


def open_body(content_type: str, body: bytes, facts: Facts, settings: ServeSettings) -> Body:
    """The body as a file of a known kind. Raises ProblemError where it is of none, or too large for its kind."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in KINDS and media_type not in BY_NAME:
        raise ProblemError("unsupported-media-type", f"Content-Type {media_type or 'is missing'}: the service takes {TAKEN}")
    filename = ""
    if media_type == "multipart/form-data":
        filename, body = form_file(content_type, body)
    name = facts.name or filename or "clip"
    opened = Body(name=name, kind=KINDS.get(media_type) or _kind(name, filename, body), content=body)
    if opened.is_video and not settings.video:
        raise ProblemError("unsupported-media-type", f"{name}: this service takes no videos: its model reads keypoints, and nothing here estimates them")
    if not opened.is_video and len(body) > settings.max_body_bytes:
        raise ProblemError("too-large", f"{name}: keypoints of more than {settings.max_body_bytes} bytes: send .npz, or a shorter clip")
    return opened


def read_clip(body: Body, facts: Facts, settings: ServeSettings) -> Clip:
    """The clip of a file of keypoints. Raises ProblemError where it can't be read, or is beyond the limits."""
    name = body.name
    try:
        found = _parsed(body.kind, body.content, name, settings)
    except RecordingError as error:
        raise ProblemError("unreadable", str(error)) from None
    _check_limits(found.keypoints, settings)
    size = facts.frame_size or (found.width or 0, found.height or 0)
    if not (size[0] > 0 and size[1] > 0):
        raise ProblemError("unusable-keypoints", f"frame size unknown: {name} doesn't say it; add frame_size to the file, or give frame_size=WIDTHxHEIGHT")
    fps = facts.fps or found.fps
    if fps and found.keypoints.shape[0] / fps > settings.max_seconds:
        raise ProblemError(
            "too-large", f"{found.keypoints.shape[0] / fps:.0f} s: the service takes clips of up to {settings.max_seconds:g} s; send a longer one to /v1/jobs"
        )
    return Clip(name=name, keypoints=found.keypoints, frame_size=size, fps=fps)


def _kind(name: str, filename: str, body: bytes) -> str:
    for suffix in (PurePosixPath(text).suffix.lower() for text in (name, filename)):
        if suffix in (*KEYPOINT_READERS, JSON, *VIDEO_SUFFIXES):
            return suffix
    if body.startswith(_ZIP_MAGIC):
        return ".npz"
    raise ProblemError(
        "unsupported-media-type", f"{name}: not a clip: the kinds are {', '.join(KEYPOINT_READERS)}, {JSON} and videos; name the file by its kind"
    )


def _parsed(kind: str, body: bytes, name: str, settings: ServeSettings) -> KeypointClip:
    if kind == JSON:
        return _from_json(body, name)
    return parse_keypoints(body, kind, name, max_bytes=settings.max_array_bytes)


def _from_json(body: bytes, name: str) -> KeypointClip:
    try:
        document = from_json(body, cache_strings="none")
    except ValueError as error:
        raise ProblemError("unreadable", f"{name}: not JSON ({' '.join(str(error).split())[:100]})") from None
    if not isinstance(document, dict) or "keypoints" not in document:
        raise ProblemError("unreadable", f"{name}: has no member 'keypoints' (frames, points, 3)")
    rows = document.pop("keypoints")
    try:
        facts = KeypointFacts.model_validate(document)
    except ValidationError as error:
        raise invalid_parameters(error.errors()) from None
    width, height = facts.frame_size or (None, None)
    return KeypointClip(keypoints=_array(rows, name), fps=facts.fps, width=width, height=height)


def _array(rows: object, name: str) -> np.ndarray:
    """(T, K, 3) float32 of nested lists. Checked by NumPy, as pydantic takes five times as long."""
    try:
        array = np.array(rows)
    except (ValueError, OverflowError):  # lists of different lengths
        array = np.empty(0)
    if array.ndim != 3 or array.shape[2] not in (3, 4) or array.dtype.kind not in "fiu":
        raise ProblemError("unreadable", f"{name}: keypoints must be numbers (frames, points, 3: x, y, confidence), as many in every frame")
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, and is reported as such
        return np.ascontiguousarray(array[..., [0, 1, -1]], dtype=np.float32)


def _check_limits(keypoints: np.ndarray, settings: ServeSettings) -> None:
    num_frames, num_points, _ = keypoints.shape
    if num_frames > settings.max_frames:
        raise ProblemError("too-large", f"{num_frames} frames: the service takes clips of up to {settings.max_frames}; send a longer one to /v1/jobs")
    if num_points > settings.max_points:
        raise ProblemError("too-large", f"{num_points} points a frame: the service takes up to {settings.max_points}")
