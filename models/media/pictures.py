"""Pictures of a clip as files: a folder, or members of a zip archive; each is read when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import cv2
import numpy as np

from models.errors import RecordingError
from models.inputs.frames import EncodedPictures

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts numbers inside names by their value: `frame 9` before `frame 10`; where all have leading zeros it is the order of the characters."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part)


def read_picture_folder(path: Path) -> EncodedPictures:
    """The pictures in a folder, in the natural order of their names. Errors: RecordingError where there is none, or where the first can't be decoded."""
    try:
        names = sorted((file.name for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES), key=natural_order)
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror or error})") from None
    if not names:
        raise RecordingError(f"{path}: no frames: the folder holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return encoded_pictures(PictureFiles(path, tuple(names)), str(path))


def encoded_pictures(pictures: Sequence[bytes], name: str) -> EncodedPictures:
    """Pictures of one size, which is that of the first. Errors: RecordingError naming `name` where the first can't be decoded."""
    first = cv2.imdecode(np.frombuffer(pictures[0] or b"?", np.uint8), cv2.IMREAD_COLOR)
    if first is None:
        raise RecordingError(f"{name}: the first of {len(pictures)} pictures can't be decoded")
    return EncodedPictures(pictures=pictures, size=(first.shape[1], first.shape[0]))


class PictureFiles(Sequence[bytes]):
    """The contents of files in a folder. Reading raises RecordingError."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.folder, self.names = folder, names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...
    def __getitem__(self, index: int | slice) -> bytes | PictureFiles:
        if isinstance(index, slice):
            return PictureFiles(self.folder, self.names[index])
        try:
            return (self.folder / self.names[index]).read_bytes()
        except OSError as error:
            raise RecordingError(f"{self.folder / self.names[index]}: can't be read ({error.strerror or error})") from None
