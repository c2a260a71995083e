"""The clip that is to be explained: a file, or one of shards by its name."""

from __future__ import annotations

import difflib
from pathlib import Path

from models.answering import Unanswered
from models.errors import RecordingError
from models.inputs.clip import Clip
from workloads.recorded_clips import listed, read_clips
from workloads.shards import ShardSet


def clip_of_file(path: Path, *, size: tuple[int, int] | None, fps: float | None) -> Clip:
    """Raises RecordingError where the file can't be read."""
    (clip,) = read_clips(listed([path], None, size=size, fps=fps))
    if isinstance(clip, Unanswered):
        raise RecordingError(clip.reason if str(path) in clip.reason else f"{path}: {clip.reason}")
    return clip


def clip_of_shards(name: str, folder: Path, split: str | None) -> Clip:
    """Raises ShardError for shards or a split that aren't there, RecordingError that names the nearest where no clip has the name."""
    shards = ShardSet.open(folder)
    names: list[str] = []
    for each in (split,) if split else shards.splits:
        names += [row.name for row in shards.index(each)]
        if name in names:
            return next(shards.rows(each, [name]))
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)
    where = f"split {split} of {folder}" if split else str(folder)
    raise RecordingError(f"no clip {name!r} in {where}, which has {len(names)}" + (f"; the nearest is {nearest[0]!r}" if nearest else ""))
