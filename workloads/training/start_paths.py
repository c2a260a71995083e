"""What a training begins with, by path or by URI, as files of this machine."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from cluster.storage import Place, fetched_folder, file_size, location, work_folder
from models.bundle_record import RECORD_FILE
from models.errors import CheckpointError

LANGUAGE_MODEL_RECORD = "report.json"  # the file that workloads/prune_mbart.py writes last


@lru_cache(maxsize=32)
def start_path(path: str) -> Path:
    """The file or folder; of one in a store this machine's copy. Raises CheckpointError where the store has none, or refuses."""
    try:
        place = location(path)
        return _copy_of(place) if isinstance(place, Place) else place
    except (ValueError, LookupError, OSError) as error:
        raise CheckpointError(" ".join(str(error).split())) from None


def _copy_of(place: Place) -> Path:
    size = place.size()
    if size is None:
        return fetched_folder(place, last=RECORD_FILE if (place / RECORD_FILE).is_file() else LANGUAGE_MODEL_RECORD)
    copy = work_folder(place)
    if file_size(copy) != size:
        place.get(copy)
    return copy
