"""Where a published corpus's pictures lie: a tree of folders, one a recording, or one large zip."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import overload

from models.errors import CorpusError, RecordingError
from models.media import PICTURE_SUFFIXES, VideoClip, read_picture_folder
from models.media.pictures import encoded_pictures, natural_order

Key = Callable[[str], str]  # a recording's name in annotation, keypoints or paths → its identity
Opened = Callable[[], VideoClip]


class FolderStore:
    """Folders of pictures. find: places where a recording's folder may be, the first that exists counts."""

    def __init__(self, root: Path, places: Sequence[str], fps: float | None) -> None:
        self.root, self._places, self._fps = root.resolve(), places, fps

    @property
    def stamp(self) -> str:
        return self.root.name

    def find(self, name: str, split: str, num_frames: int | None = None) -> Opened | None:
        for place in self._places:
            folder = self.root / place.format(name=name, split=split)
            if folder.is_dir():
                return partial(_open_folder, folder, self._fps, num_frames)
        return None

    def looked_for(self, name: str, split: str) -> str:
        return str(self.root / self._places[0].format(name=name, split=split))


class ZipStore:
    """A zip of all pictures, in folders whose paths tell the recording, whatever lies above them. Errors: CorpusError where it is no zip."""

    def __init__(self, path: Path, key: Key, fps: float | None) -> None:
        self.path, self._key, self._fps = path.resolve(), key, fps
        try:
            names = _archive(self.path).namelist()
        except (OSError, zipfile.BadZipFile) as error:
            raise CorpusError(f"{path}: not a readable zip of pictures, truncated or damaged ({' '.join(str(error).split())[:100]}): get it again") from None
        self._members = _by_recording(names, key)

    @property
    def stamp(self) -> str:
        return f"{self.path.name}:{self.path.stat().st_size}"

    def find(self, name: str, split: str, num_frames: int | None = None) -> Opened | None:
        members = self._members.get(self._key(name))
        return None if members is None else partial(_open_members, ZipPictures(self.path, members), self._fps, num_frames)

    def looked_for(self, name: str, split: str) -> str:
        return f"{self.path}, a folder {self._key(name)}"


Store = FolderStore | ZipStore


@dataclass(frozen=True)
class ZipPictures(Sequence[bytes]):
    """Members of a zip that is opened once in each process. Reading raises RecordingError."""

    path: Path
    members: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.members)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> ZipPictures: ...
    def __getitem__(self, index: int | slice) -> bytes | ZipPictures:
        if isinstance(index, slice):
            return ZipPictures(self.path, self.members[index])
        try:
            return _archive(self.path).read(self.members[index])
        except Exception as error:  # zipfile, zlib, bz2 and lzma each raise what damaged bytes lead to
            raise RecordingError(f"{self.path}: {self.members[index]} can't be read ({type(error).__name__}: {' '.join(str(error).split())[:80]})") from None


def _open_folder(folder: Path, fps: float | None, num_frames: int | None) -> VideoClip:
    return _whole(VideoClip(frames=read_picture_folder(folder), fps=fps), str(folder), num_frames)


def _open_members(pictures: ZipPictures, fps: float | None, num_frames: int | None) -> VideoClip:
    name = f"{pictures.path}, {PurePosixPath(pictures.members[0]).parent}"
    return _whole(VideoClip(frames=encoded_pictures(pictures, name), fps=fps), name, num_frames)


def _whole(clip: VideoClip, name: str, num_frames: int | None) -> VideoClip:
    """The clip, where it has as many pictures as the annotation says."""
    if num_frames is not None and clip.num_frames != num_frames:
        raise RecordingError(f"{name}: {clip.num_frames} pictures are there, and the annotation says {num_frames}")
    return clip


@lru_cache(maxsize=2)
def _archive(path: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def _by_recording(names: Iterable[str], key: Key) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in PICTURE_SUFFIXES:
            found.setdefault(key(str(path.parent)), []).append(name)
    return {recording: tuple(sorted(members, key=natural_order)) for recording, members in found.items()}
