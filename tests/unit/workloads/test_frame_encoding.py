"""Sizes that systems ask for are reached by the filters that their published code uses."""

from __future__ import annotations

import argparse
from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image

from models.inputs.frames import Pictures
from models.media import VideoClip
from workloads.frame_arguments import add_frame_arguments, frame_options
from workloads.frame_encoding import FrameOptions, encode_clip

PICTURE = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), dtype=np.uint8)


def options(*arguments: str) -> FrameOptions:
    parser = argparse.ArgumentParser()
    add_frame_arguments(parser)
    found = frame_options(parser, parser.parse_args(["--encoding", "png", *arguments]))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("twostream-csl", np.asarray(Image.fromarray(PICTURE[0]).resize((320, 320)))),  # Pillow's default filter: bicubic
        ("vac", cv2.resize(PICTURE[0], (256, 256), interpolation=cv2.INTER_LANCZOS4)),
        ("as-is", PICTURE[0]),
    ],
)
def test_a_preset_is_resized_as_published(preset: str, expected: np.ndarray) -> None:
    encoded = encode_clip(VideoClip(frames=Pictures(array=PICTURE), fps=25.0), options("--size", preset))
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(encoded.pictures[0]))), expected)


def test_the_record_of_older_shards_still_fits() -> None:
    """What was written before there was a choice of filters."""
    assert options("--size", "vac").record() == {"encoding": "png", "quality": None, "size": (256, 256), "crop": None, "fps": None}
    assert options("--size", "twostream-csl").record()["resize"] == "bicubic"
