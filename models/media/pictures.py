"""Pictures of a clip as files: a folder, or members of a zip archive; each is read when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import overload

from models.errors import RecordingError
from models.inputs.frames import EncodedPictures, decoded_picture
from models.media.stream_index import DEFAULT_LIMITS, VideoLimits

PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


def natural_order(name: str) -> tuple[tuple[int, int | str], ...]:
    """A key that sorts numbers inside names by their value: `frame 9` before `frame 10`; where all have leading zeros it is the order of the characters."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part)


def read_picture_folder(path: Path, *, limits: VideoLimits = DEFAULT_LIMITS) -> EncodedPictures:
    """The pictures in a folder, in the natural order of their names. Errors: RecordingError where there is none, and as of `encoded_pictures`."""
    try:
        names = sorted((file.name for file in path.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES), key=natural_order)
    except OSError as error:
        raise RecordingError(f"{path}: can't be read ({error.strerror or error})") from None
    if not names:
        raise RecordingError(f"{path}: no frames: the folder holds no picture ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return encoded_pictures(PictureFiles(path, tuple(names)), str(path), limits=limits)


def encoded_pictures(pictures: Sequence[bytes], name: str, *, limits: VideoLimits = DEFAULT_LIMITS) -> EncodedPictures:
    """Pictures of one size, which is that of the first. Errors: RecordingError naming `name` where they are beyond `limits` or the first can't be decoded."""
    if len(pictures) > limits.max_frames:
        raise RecordingError(f"{name}: has {len(pictures):,} pictures, and {limits.max_frames:,} are allowed: cut it into shorter recordings")
    first = decoded_picture(pictures[0])
    if first is None:
        raise RecordingError(f"{name}: the first of {len(pictures)} pictures can't be decoded")
    height, width = first.shape[:2]
    if width * height > limits.max_pixels:
        raise RecordingError(f"{name}: has pictures of {width} × {height} pixels, and {limits.max_pixels:,} pixels are allowed")
    return EncodedPictures(pictures=pictures, size=(width, height))


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
