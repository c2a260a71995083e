"""Runs whose root is a place in a store: this machine works on a copy, which a `Mirror` keeps equal with the place.

    s3://BUCKET/runs/NAME/           as a run's folder on a disk, plus
        owner.json                   who trains it now (`cluster.lease`)
        copy.txt                     which copy was published last: the machine that has it goes on with its own, every other one takes the store's

A checkpoint counts in the store, as on a disk, when every file is there that its manifests name, and these are written last.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from cluster.lease import leased
from cluster.registry import RECORD
from cluster.storage import Location, Place, is_uri, location
from cluster.store_access import StoreError
from models.errors import CheckpointError, TrainingError
from workloads.recipe import Recipe
from workloads.training.checkpoints import CHECKPOINTS, STAGING, checkpoints, damage
from workloads.training.folders import BUNDLE, ENDED
from workloads.training.mirror import COPY, INNER, Mirror, is_small, store_gap

OWNER = "owner.json"
LOCK = "lock"


def place_of(recipe: Recipe, folder: Path) -> Place | None:
    """Where the run of this folder is kept; None for one that lies on a disk only."""
    return location(recipe.run.root) / folder.name if is_uri(recipe.run.root) else None  # type: ignore[return-value]


def shown(recipe: Recipe, folder: Path) -> Location:
    """The run as its user names it."""
    return place_of(recipe, folder) or folder


@contextmanager
def stored(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Hold the run's place, if it has one, bring the copy up to date, and keep the place up to date until the block ends.

    Raises TrainingError while another process trains the run or where the store refuses, CheckpointError where none of its checkpoints is intact.
    """
    place = place_of(recipe, folder)
    if place is None:
        yield
        return
    with ExitStack() as held:
        try:
            lease = held.enter_context(leased(place / OWNER))
            bring_back(place, folder)
            held.enter_context(Mirror(folder, place, lease, keep=recipe.train.keep_checkpoints))
        except BlockingIOError as error:
            raise TrainingError(f"{place} is being trained by {error}: wait for its end, or stop it") from None
        except StoreError as error:
            raise TrainingError(str(error)) from None
        yield


def bring_back(place: Place, folder: Path) -> None:
    """Make the copy what the store has of the run, unless it is the copy that was published last; and fetch what it lacks to go on from."""
    sizes = place.sizes()
    published = (place / COPY).read_text() if COPY in sizes else None
    if published is not None and published != _own_id(folder):
        _start_over(folder)
        for name in sizes:
            if (is_small(name) and name != COPY) or PurePosixPath(name).name == ENDED:
                (place / name).get(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    ours = published is not None and published == _own_id(folder)
    if not ours:
        (folder / COPY).write_text(uuid.uuid4().hex)
    for run in ("", *sorted({"/".join(name.split("/")[:2]) for name in sizes if name.split("/")[0] in INNER})):
        below = _below(sizes, run)
        if not (run and ENDED in below):  # nobody goes on with an inner run that has ended
            _fetch_checkpoints(place / run, folder / run, _below(below, CHECKPOINTS), ours=ours)
        if ENDED in below and not (folder / run / BUNDLE / RECORD).exists():
            for name in _below(below, BUNDLE):
                (place / run / BUNDLE / name).get(folder / run / BUNDLE / name)


def _below(sizes: Mapping[str, int], prefix: str) -> dict[str, int]:
    """The objects below a prefix, by their names there."""
    return {name[len(prefix) + 1 :]: size for name, size in sizes.items() if name.startswith(f"{prefix}/")} if prefix else dict(sizes)


def _own_id(folder: Path) -> str | None:
    return (folder / COPY).read_text() if (folder / COPY).is_file() else None


def _start_over(folder: Path) -> None:
    """Remove an older copy; its lock is held by us."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name == LOCK:
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _fetch_checkpoints(place: Place, folder: Path, sizes: Mapping[str, int], *, ours: bool) -> None:
    """The newest intact checkpoint of the store, where it is newer than what is here, and the whole ones that were kept beside it.

    What has no matching manifest is told of and left. Raises CheckpointError where checkpoints with manifests are there and each is damaged.
    """
    own = {path.name for path in checkpoints(folder / CHECKPOINTS) if damage(path) is None}
    names = sorted({name.split("/")[0] for name in sizes}, reverse=True)
    complaints: list[str] = []
    fetched = 0
    for name in names:
        if name in own or (ours and own and name < max(own)):  # what this machine has pruned since isn't fetched again
            continue
        reason = store_gap(place / CHECKPOINTS / name, _below(sizes, name))
        if reason is None:
            _fetch(place / CHECKPOINTS / name, folder / CHECKPOINTS / name)
            reason = damage(folder / CHECKPOINTS / name)
            fetched += reason is None
        if reason is not None:
            shutil.rmtree(folder / CHECKPOINTS / name, ignore_errors=True)
            complaints.append(f"{place / CHECKPOINTS / name}: {reason}")
            print(f"checkpoint passed over: {complaints[-1]}", flush=True)
    damaged = [text for text in complaints if not text.endswith("no manifest")]
    if damaged and not fetched and not own:
        raise CheckpointError(f"{place / CHECKPOINTS}: no checkpoint is intact ({damaged[0]}): start a new run")


def _fetch(place: Place, folder: Path) -> None:
    staging = folder.with_name(STAGING + folder.name)
    shutil.rmtree(staging, ignore_errors=True)
    for name in place.sizes():
        (place / name).get(staging / name)
    shutil.rmtree(folder, ignore_errors=True)
    staging.rename(folder)
