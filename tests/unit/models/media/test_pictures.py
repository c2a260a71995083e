"""Folders of pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import RecordingError
from models.inputs.frames import decoded_picture
from models.media import VideoLimits, read_frames, read_picture_folder
from models.media.pictures import encoded_pictures, natural_order
from tests.unit.models.media.videos import numbered


def write_pictures(folder: Path, pictures: np.ndarray, *, name: str = "{}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / name.format(number)), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder


def png_of(width: int, height: int) -> bytes:
    """A PNG picture that tells its size and holds some bytes of its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits each of RGB
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", numbered(12))
    (folder / "notes.txt").write_text("not a picture")
    clip = read_frames(folder)
    assert (clip.num_frames, clip.width, clip.height, clip.fps, clip.variable_rate) == (12, 64, 48, None, False)
    assert np.array_equal(clip.frames.decode(range(12)), numbered(12))
    assert np.array_equal(clip.frames.decode([11, 2, 2]), numbered(12)[[11, 2, 2]])


def test_natural_order() -> None:
    assert sorted(["f10", "f9", "f1", "F2", "a", "10", "9"], key=natural_order) == ["9", "10", "F2", "a", "f1", "f9", "f10"]
    padded = [f"images{number:04d}.png" for number in range(1, 200)]
    assert sorted(padded, key=natural_order) == sorted(padded)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="no frames: the folder holds no picture"):
        read_frames(tmp_path / "empty")
    with pytest.raises(RecordingError, match="can't be read"):
        read_picture_folder(tmp_path / "gone")
    broken = write_pictures(tmp_path / "broken", numbered(3))
    (broken / "0.png").write_bytes(b"")
    with pytest.raises(RecordingError, match="the first of 3 pictures can't be decoded"):
        read_frames(broken)
    later = write_pictures(tmp_path / "later", numbered(3))
    frames = read_frames(later).frames
    (later / "1.png").write_bytes(b"")
    with pytest.raises(RecordingError, match="frame 1 can't be decoded: no picture found, 64 × 48 expected"):
        frames.decode([0, 1])
    (later / "2.png").unlink()
    with pytest.raises(RecordingError, match=r"2\.png: can't be read"):
        frames.decode([2])
    write_pictures(later, numbered(1, width=32))
    with pytest.raises(RecordingError, match="32 × 48 pixels found"):
        frames.decode([0])


def test_what_opencv_raises_for_is_no_picture(tmp_path: Path) -> None:
    """It answers None for most damage, but raises for no bytes, and for more pixels than it takes."""
    huge = png_of(40_000, 40_000)
    assert [decoded_picture(content) for content in (b"", b"?", huge)] == [None, None, None]
    folder = write_pictures(tmp_path / "clip", numbered(3))
    (folder / "2.png").write_bytes(huge)
    with pytest.raises(RecordingError, match="frame 2 can't be decoded: no picture found, 64 × 48 expected"):
        read_frames(folder).frames.decode([0, 2])
    (folder / "0.png").write_bytes(huge)
    with pytest.raises(RecordingError, match="clip: the first of 3 pictures can't be decoded"):
        read_frames(folder)


class Endless(list[bytes]):
    """Claims a million pictures and holds none."""

    def __len__(self) -> int:
        return 1_000_000


def test_limits(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "clip", numbered(3))
    assert read_frames(folder, limits=VideoLimits(max_frames=3, max_pixels=64 * 48)).num_frames == 3
    with pytest.raises(RecordingError, match="clip: has 3 pictures, and 2 are allowed: cut it into shorter recordings"):
        read_frames(folder, limits=VideoLimits(max_frames=2))
    with pytest.raises(RecordingError, match="clip: has pictures of 64 × 48 pixels, and 3,000 pixels are allowed"):
        read_frames(folder, limits=VideoLimits(max_pixels=3000))
    with pytest.raises(RecordingError, match="endless: has 1,000,000 pictures, and 30,000 are allowed"):
        encoded_pictures(Endless(), "endless")
