"""How pictures get into shards: cut, resized, taken at a rate, and encoded one by one or as one short video."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from models.errors import RecordingError
from models.inputs.stacking import LANCZOS, bicubic_pictures, resized_pictures
from models.media import VideoClip
from models.media.segment import encoded_segment
from workloads.shards import VIDEO_FORM

Encoding = Literal["jpeg", "webp", "png", "h264"]
Resize = Literal["lanczos", "bicubic"]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the source, the last two exclusive
CHUNK = 32  # pictures that are held decoded at a time

# By measurement (README): quality is JPEG's and WebP's 0..100, and H.264's rate factor, where less is better; PNG loses nothing.
DEFAULT_QUALITY = {"jpeg": 95, "webp": 90, "png": 1, "h264": 16}
_JPEG = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """What becomes of a recording's pictures.

    size: width and height that they are brought to, the aspect not kept; None leaves them. crop: what is cut out before that.
    resize: OpenCV's Lanczos, as VAC's family does, or Pillow's bicubic, as TwoStream does with CSL-Daily.
    fps: pictures per second, each the one that is shown at its time; None takes all. quality: None takes the encoding's default.
    """

    encoding: Encoding = "jpeg"
    quality: int | None = None
    size: tuple[int, int] | None = None
    crop: Box | None = None
    fps: float | None = None
    resize: Resize = "lanczos"

    def record(self) -> dict[str, Any]:
        """For `corpus.json`, where a filter is named if it isn't what shards had before there was a choice."""
        values = dataclasses.asdict(self)
        return values if self.resize != "lanczos" else {name: value for name, value in values.items() if name != "resize"}


AS_THEY_ARE = FrameOptions()


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedClip:
    """A recording's pictures as its row holds them. chosen: the frames of the source that they are; size: width and height as stored."""

    pictures: list[bytes]
    form: str
    size: tuple[int, int]
    chosen: np.ndarray
    fps: float | None


def encode_clip(clip: VideoClip, options: FrameOptions, fps: float | None = None) -> EncodedClip:
    """Decode, cut, resize and encode a recording's pictures, some at a time. fps: of the recording, where it says it and the video doesn't.

    Errors: RecordingError for damaged pictures, a crop outside them, or a rate that can't be had.
    """
    chosen, rate = chosen_frames(clip, options.fps, fps)
    box = _checked_crop(options.crop, clip.frames.size)
    size = options.size or (box[2] - box[0], box[3] - box[1])
    pictures = _prepared(clip, chosen, box, size, options.resize)
    encoded = [encoded_segment(pictures, size, rate, _quality(options))] if options.encoding == VIDEO_FORM else [_picture(entry, options) for entry in pictures]
    return EncodedClip(pictures=encoded, form=options.encoding, size=size, chosen=chosen, fps=rate)


def chosen_frames(clip: VideoClip, wanted: float | None, fps: float | None) -> tuple[np.ndarray, float | None]:
    """Indices of the frames that are taken, and their rate. At a wanted rate it is the frame that is shown at each tick: slower videos repeat frames."""
    rate = fps or clip.fps
    if wanted is None:
        return np.arange(clip.num_frames), rate
    times = clip.times
    if times is None:
        if rate is None:
            raise RecordingError("no rate: neither the recording nor its video says its frames per second, so --fps can't be kept")
        times = np.arange(clip.num_frames) / rate
    ticks = np.arange(int(np.floor(times[-1] * wanted + 1e-6)) + 1) / wanted
    return np.searchsorted(times, ticks + 1e-6, side="right") - 1, wanted


def cut_keypoints(keypoints: np.ndarray, options: FrameOptions) -> np.ndarray:
    """Keypoints (T, K, 3) in pixels of what the crop leaves."""
    if options.crop is None:
        return keypoints
    moved: np.ndarray = keypoints - np.array([options.crop[0], options.crop[1], 0], dtype=keypoints.dtype)
    return moved


def _checked_crop(crop: Box | None, size: tuple[int, int]) -> Box:
    if crop is None:
        return 0, 0, *size
    if crop[2] > size[0] or crop[3] > size[1]:
        raise RecordingError(f"crop outside: pictures of {size[0]} × {size[1]} pixels have no box {','.join(map(str, crop))}")
    return crop


def _prepared(clip: VideoClip, chosen: np.ndarray, box: Box, size: tuple[int, int], resize: Resize) -> Iterator[Any]:
    left, top, right, bottom = box
    for start in range(0, len(chosen), CHUNK):
        cut = clip.frames.decode(chosen[start : start + CHUNK])[:, top:bottom, left:right]
        yield from bicubic_pictures(cut, size[::-1]) if resize == "bicubic" else resized_pictures(cut, size[::-1], LANCZOS)


def _quality(options: FrameOptions) -> int:
    return DEFAULT_QUALITY[options.encoding] if options.quality is None else options.quality


def _picture(picture: np.ndarray, options: FrameOptions) -> bytes:
    quality = _quality(options)
    settings = {
        "jpeg": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality, *_JPEG]),
        "webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, quality]),
        "png": (".png", [cv2.IMWRITE_PNG_COMPRESSION, quality]),
    }
    suffix, parameters = settings[options.encoding]
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), parameters)
    return encoded.tobytes()
