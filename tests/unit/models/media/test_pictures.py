"""Folders of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import RecordingError
from models.media import read_frames, read_picture_folder
from models.media.pictures import natural_order
from tests.unit.models.media.videos import numbered


def write_pictures(folder: Path, pictures: np.ndarray, *, name: str = "{}.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / name.format(number)), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder


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
