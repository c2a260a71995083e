"""Keeps a place in a store equal with a run's folder, from a thread of the driver, so that no step waits for the store.

Checkpoints and the bundle go up when they are whole, each with its manifest last; what they supersede is deleted after that. The run's small files
(recipe, events, plots, what waits for MLflow) go up with every checkpoint, every LOGS_S seconds, and at the end. While the store is away everything stays
here, and is sent when it is back.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from cluster.lease import Lease
from cluster.registry import RECORD
from cluster.storage import TRANSFERS, Place, publish_folder
from models.errors import CheckpointError, TrainingError
from workloads.training.checkpoints import CHECKPOINTS, Position, checkpoints, gap, kept_names, parse_position
from workloads.training.checkpoints import POSITION as POSITION_FILE
from workloads.training.folders import BUNDLE, ENDED, MEMBERS, TRIALS
from workloads.training.loop import STOP_FILE

COPY = "copy.txt"
LOOK_S, LOGS_S = 1.0, 30.0
INNER = (MEMBERS, TRIALS)  # folders of runs in this one's
NOT_KEPT = {"ray", "tune", "lock", "stop", "sending.lock", "owner.json"}  # of this machine, or of the moment
STATE = "tracking/state.json"  # how far the spool was sent: never ahead of the spool itself


def is_small(name: str) -> bool:
    """Whether a file of the run's folder, by its path there, goes up as it is: what is neither of a checkpoint nor of a bundle, nor of the moment."""
    parts = PurePosixPath(name).parts
    own = parts[2:] if len(parts) > 2 and parts[0] in INNER else parts
    if not own or own[0] in (CHECKPOINTS, BUNDLE) or own[-1] == ENDED:
        return False
    return not any(part in NOT_KEPT or part.startswith(".") for part in own)


class Mirror:
    """A context: the place is equal with the folder when the block has ended. Raises TrainingError there where the store stays away."""

    def __init__(self, folder: Path, place: Place, lease: Lease, *, keep: int) -> None:
        self._folder, self._place, self._lease, self._keep = folder, place, lease, keep
        self._sent: dict[str, tuple[int, int]] = {}  # small files: time of change and size
        self._published: dict[str, str] = {}  # checkpoints and bundles → digest of their manifests
        self._positions: dict[str, Position | None] = {}
        self._since_logs = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="mirror", daemon=True)

    def __enter__(self) -> Mirror:
        self._learn()
        self._push_logs()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ending.set()
        self._thread.join()
        try:
            self._push(logs=True)
        except OSError as error:
            text = f"{' '.join(str(error).split())}; this machine has the run in {self._folder}: --resume {self._place} sends it"
            if kind is None:
                raise TrainingError(text) from None
            print(f"storage: {text}", file=sys.stderr, flush=True)

    def _follow(self) -> None:
        while not self._ending.wait(LOOK_S):
            self._since_logs += LOOK_S
            if not self._lease.held:  # another host took us for dead: it goes on from what we have sent
                print(f"storage: {self._taken()}; this training stops", file=sys.stderr, flush=True)
                (self._folder / STOP_FILE).touch()
                return
            try:
                self._push(logs=self._since_logs >= LOGS_S)
            except OSError as error:  # the store was away for longer than our patience: all is here still
                print(f"storage: {' '.join(str(error).split())}; the run goes on, and is sent when the store is back", file=sys.stderr, flush=True)
            except Exception:  # a bug in what sends a training must not end it
                traceback.print_exc()

    def _taken(self) -> str:
        return f"{self._place} was taken over by another process while this one was silent: what it trained since is in {self._folder} only"

    def _learn(self) -> None:
        """What the store has already: whole checkpoints. What lies there beside them and no more here is deleted with the next logs."""
        sizes = self._place.sizes()
        for name in sizes:
            path = PurePosixPath(name)
            place = self._place / str(path.parent)
            if path.name == "manifest-0.json" and path.parent.parent.name == CHECKPOINTS and store_gap(place, place.sizes()) is None:
                self._published[str(path.parent)] = _digest([(place / each).read_bytes() for each in place.sizes() if each.startswith("manifest-")])
            elif is_small(name) and not name.endswith(STATE):
                self._sent[name] = (0, 0)

    def _push(self, *, logs: bool) -> None:
        if not self._lease.held:
            raise ConnectionError(self._taken())
        new = [(run, path) for run in self._runs() for path in reversed(checkpoints(run / CHECKPOINTS)) if self._is_new(path)]
        bundles = [run / BUNDLE for run in self._runs() if self._is_new_bundle(run / BUNDLE)]
        if new or bundles or logs:
            self._push_logs()
            self._since_logs = 0.0
        for _, path in new:
            self._push_checkpoint(path)
        for run in dict.fromkeys(run for run, _ in new):
            self._prune(run)
        for bundle in bundles:
            publish_folder(bundle, self._at(bundle), last=RECORD)
            self._published[self._name(bundle)] = _digest([(bundle / RECORD).read_bytes()])
        for run in self._runs():
            if (run / ENDED).exists() and self._name(run / ENDED) not in self._published:
                (self._at(run) / ENDED).write_text("")
                self._published[self._name(run / ENDED)] = ""

    def _runs(self) -> list[Path]:
        """The run's folder, and those of an ensemble's members or a sweep's trials."""
        return [self._folder, *sorted(path for inner in INNER for path in self._folder.glob(f"{inner}/*") if path.is_dir())]

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()

    def _at(self, path: Path) -> Place:
        return self._place if path == self._folder else self._place / self._name(path)

    def _is_new(self, checkpoint: Path) -> bool:
        return gap(checkpoint) is None and self._published.get(self._name(checkpoint)) != _digest(_manifests(checkpoint))

    def _is_new_bundle(self, bundle: Path) -> bool:
        record = bundle / RECORD
        return record.is_file() and self._published.get(self._name(bundle)) != _digest([record.read_bytes()])

    def _push_checkpoint(self, checkpoint: Path) -> None:
        """Files, then manifests, that of rank 0 last. One that is removed here meanwhile is left without: it was superseded."""
        name, place = self._name(checkpoint), self._at(checkpoint)
        try:
            manifests = {path.name: path.read_bytes() for path in sorted(checkpoint.glob("manifest-*.json"), reverse=True)}
            for manifest in manifests:
                (place / manifest).unlink(missing_ok=True)  # an older form of the same step
            files = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name not in manifests]
            with ThreadPoolExecutor(max_workers=TRANSFERS, thread_name_prefix="mirror") as pool:
                list(pool.map(lambda path: (place / path.relative_to(checkpoint).as_posix()).put(path), files))
        except FileNotFoundError:
            return
        for manifest, content in manifests.items():
            (place / manifest).write_bytes(content)
        self._published[name] = _digest(list(manifests.values()))

    def _prune(self, run: Path) -> None:
        """Delete what training would delete, and uploads that were never finished."""
        place = self._at(run) / CHECKPOINTS
        prefix = f"{self._name(run)}/{CHECKPOINTS}/" if run != self._folder else f"{CHECKPOINTS}/"
        whole = {name.removeprefix(prefix) for name in self._published if name.startswith(prefix)}
        positions = {name: position for name in whole if (position := self._position(run, name)) is not None}
        kept = kept_names(positions, keep=self._keep)
        there = {name.split("/")[0] for name in place.sizes()}
        for name in sorted(there - kept):
            (place / name).remove(first=[each for each in (place / name).sizes() if each.startswith("manifest-")])
            self._published.pop(prefix + name, None)

    def _position(self, run: Path, name: str) -> Position | None:
        key = f"{run}/{name}"
        if self._positions.get(key) is None:
            try:
                file = run / CHECKPOINTS / name / POSITION_FILE
                there = self._at(run) / CHECKPOINTS / name / POSITION_FILE
                self._positions[key] = parse_position(file.read_bytes if file.is_file() else there.read_bytes, where=str(file))
            except CheckpointError:
                self._positions[key] = None
        return self._positions[key]

    def _push_logs(self) -> None:
        """The small files that changed. What the spool's state says is read before the spool, and goes up after it."""
        found = {self._name(path): path for path in self._folder.rglob("*") if path.is_file() and is_small(self._name(path))}
        states = {name: found.pop(name).read_bytes() for name in sorted(found) if name.endswith(STATE)}
        for name, path in found.items():
            try:
                facts = path.stat()
                if self._sent.get(name) != (facts.st_mtime_ns, facts.st_size):
                    (self._place / name).put(path)
                    self._sent[name] = (facts.st_mtime_ns, facts.st_size)
            except FileNotFoundError:  # sent to MLflow, and gone
                pass
        for name, content in states.items():
            (self._place / name).write_bytes(content)
        for name in self._sent.keys() - found.keys():
            (self._place / name).unlink(missing_ok=True)
            del self._sent[name]


def _manifests(checkpoint: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(checkpoint.glob("manifest-*.json"))]


def _digest(contents: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\n".join(sorted(contents))).hexdigest()


def store_gap(place: Place, sizes: Mapping[str, int]) -> str | None:
    """Why a checkpoint in the store isn't whole, or None: by its manifests and the objects' sizes."""
    if "manifest-0.json" not in sizes:
        return "no manifest"
    try:
        first = json.loads((place / "manifest-0.json").read_bytes())
        manifests = [first] + [json.loads((place / f"manifest-{rank}.json").read_bytes()) for rank in range(1, first["world_size"])]
        records = {name: record[0] for manifest in manifests for name, record in manifest["files"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError) as error:
        return f"its manifests are damaged ({type(error).__name__})"
    return next((f"{name} is missing" if name not in sizes else f"{name} is damaged" for name, size in records.items() if sizes.get(name) != size), None)
