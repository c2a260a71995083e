"""What the command line says of pictures."""

from __future__ import annotations

import argparse
import re
from typing import get_args

from workloads.frame_encoding import Box, Encoding, FrameOptions, Resize

Size = tuple[int, int] | None
SIZES: dict[str, tuple[Size, Resize]] = {
    "as-is": (None, "lanczos"),
    "vac": ((256, 256), "lanczos"),
    "twostream": (None, "lanczos"),
    "twostream-csl": ((320, 320), "bicubic"),
}


def add_frame_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("pictures, where the corpus has them")
    group.add_argument("--no-frames", action="store_true", help="keypoints only")
    group.add_argument(
        "--size",
        type=_size,
        default="as-is",
        metavar="WxH",
        help="resize pictures to this (Lanczos; the aspect isn't kept), or as a system needs it: vac (256x256: SlowFastSign, MSTFNet, CorrNet), "
        "twostream (as they are), twostream-csl (320x320, by Pillow's bicubic filter as published) (default: as they are)",
    )
    group.add_argument("--crop", type=_box, metavar="L,T,R,B", help="cut out this box of pixels first; keypoints follow (CSL-Daily, cut: 0,80,512,512)")
    group.add_argument("--encoding", choices=get_args(Encoding), default="jpeg", help="of the pictures; h264 is one video a clip (default: jpeg)")
    group.add_argument(
        "--quality", type=int, metavar="N", help="1 to 100 of JPEG and WebP (default: 95, 90); rate factor 0 to 51 of H.264, less is better (16)"
    )
    group.add_argument("--fps", type=float, metavar="N", help="pictures per second that are kept, of keypoints, too (default: all, whatever the rate)")


def frame_options(parser: argparse.ArgumentParser, given: argparse.Namespace) -> FrameOptions | None:
    """None for keypoints only. A value out of range ends with the parser's message."""
    if given.no_frames:
        return None
    low, high = (0, 51) if given.encoding == "h264" else (0, 9) if given.encoding == "png" else (1, 100)
    if given.quality is not None and not low <= given.quality <= high:
        parser.error(f"--quality {given.quality}: {low} to {high} is expected for {given.encoding}")
    if given.fps is not None and not 0 < given.fps <= 240:
        parser.error(f"--fps {given.fps}: more than 0 and at most 240 is expected")
    size, resize = given.size
    return FrameOptions(encoding=given.encoding, quality=given.quality, size=size, crop=given.crop, fps=given.fps, resize=resize)


def _size(text: str) -> tuple[Size, Resize]:
    if text in SIZES:
        return SIZES[text]
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text.lower())
    if not found or not all(map(int, found.groups())):
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT in pixels, such as 256x256, nor one of {', '.join(SIZES)}")
    return (int(found[1]), int(found[2])), "lanczos"


def _box(text: str) -> Box:
    found = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text)
    left, top, right, bottom = (int(part) for part in found.groups()) if found else (0, 0, 0, 0)
    if not (left < right and top < bottom):
        raise argparse.ArgumentTypeError(f"{text!r} is not LEFT,TOP,RIGHT,BOTTOM in pixels, such as 0,80,512,512")
    return left, top, right, bottom
