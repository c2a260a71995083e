"""The clip of shards that is to be explained, by its name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.inputs import Modality
from workloads.shards import ShardSet


def clip_of_shards(name: str, folder: Path, split: str | None, modalities: Sequence[Modality]) -> Clip:
    """The clip with these modalities, and with its pictures where the shards have them, to be drawn upon.

    Raises ShardError for shards or a split that aren't there, RecordingError that names the nearest where no clip has the name.
    """
    shards = ShardSet.open(folder)
    names: list[str] = []
    for each in (split,) if split else shards.splits:
        names += [row.name for row in shards.index(each)]
        if name in names:
            wanted = {*modalities, *shards.corpus.modalities} & {"frames", *modalities}
            return next(shards.rows(each, [name], modalities=tuple(wanted)))
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0)
    where = f"split {split} of {folder}" if split else str(folder)
    raise RecordingError(f"no clip {name!r} in {where}, which has {len(names)}" + (f"; the nearest is {nearest[0]!r}" if nearest else ""))
