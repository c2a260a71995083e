"""Where a run stands, read from its folder, or its place in a store, alone: from any host that sees it, while it goes on or long after.

python -m cluster.status RUN            state, step, hours left, scores, the last messages; of an ensemble each member, too
python -m cluster.status RUN --json     the same for programs

Exits with 0 for a run that goes on or has ended well, with 1 for one that waits for somebody.
"""

import argparse
import fcntl
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

import yaml

from cluster.entry import run_entry_point
from cluster.lease import is_held
from cluster.spool import Spool
from cluster.storage import Place, location

State = Literal["training", "silent", "stopped", "failed", "ended", "not begun"]
WELL: tuple[State, ...] = ("training", "ended", "not begun")
SILENT_S = 900.0  # without an event, while somebody holds the run: longer than a validation should take
NODES_COME_S = 1800.0  # that a run waits for the nodes of a cluster: clouds take minutes to bring one up
JUST_NOW_S = 60.0
WINDOW = 50  # steps whose speed counts
NEWS = 3  # messages that are shown
LOOKED_AT = {"recipe.yaml", "events.jsonl", "ended", "fault", "records.jsonl", "state.json"}


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """steps: of the whole run, None where the shards aren't seen from here. idle_s: since the last event. left_s: until the end, at the speed of late.
    scores: of the last validation, in percent; unsent: records that the tracking server hasn't got. advice: what to do, "" for nothing."""

    folder: str
    state: State
    step: int = 0
    steps: int | None = None
    epoch: int = 0
    epochs: int | None = None
    idle_s: float | None = None
    step_s: float | None = None
    left_s: float | None = None
    loss: float | None = None
    metric: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    restarts: int = 0
    unsent: int = 0
    messages: tuple[str, ...] = ()
    advice: str = ""
    members: tuple["RunStatus", ...] = ()

    @property
    def well(self) -> bool:
        return self.state in WELL and all(member.well for member in self.members)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who trains a run. there: whether somebody does, None where that isn't seen from this host. host: of the last who did, "" where it isn't known.
    since: when he took the run, in seconds since the epoch; 0 where it isn't known."""

    there: bool | None
    host: str = ""
    since: float = 0.0


def status_of(run: str) -> RunStatus:
    """Of a run's folder, or of its place in a store, where its events are at most half a minute old.

    Raises FileNotFoundError, one line, where that is no run, StoreError where the store refuses.
    """
    place = location(run)
    if not isinstance(place, Place):
        return status(place)
    if not (place / "recipe.yaml").is_file():
        raise FileNotFoundError(f"{place} is no run: it has no recipe.yaml; give the URI that training names")
    with tempfile.TemporaryDirectory(prefix="status-") as temporary:
        folder = Path(temporary) / place.name
        _copy(place, folder)
        found = status(folder, Holder(there=is_held(place / "owner.json")))
        return _named(found, temporary, str(place.parent))


def _copy(place: Place, folder: Path) -> None:
    """What `status` looks at."""
    for name in place.sizes():
        if "/checkpoints/" in f"/{name}" and name.endswith("/manifest-0.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        elif PurePosixPath(name).name in LOOKED_AT:
            changed = (place / name).changed() or 0.0
            (place / name).get(folder / name)
            os.utime(folder / name, (changed, changed))


def _named(found: RunStatus, copied: str, parent: str) -> RunStatus:
    members = tuple(_named(member, copied, parent) for member in found.members)
    return replace(found, folder=found.folder.replace(copied, parent), advice=found.advice.replace(copied, parent), members=members)


def status(folder: Path, holder: Holder | None = None, *, member: bool = False) -> RunStatus:
    """Raises FileNotFoundError, one line, where the folder is no run. holder: of what lies in a store, or of a member's ensemble."""
    recipe = _recipe(folder)
    events, changed = _events(folder / "events.jsonl")
    steps = {event["step"]: event for event in events if event["kind"] == "step"}
    last = steps[max(steps)] if steps else {}
    validation: dict[str, Any] = next((event for event in reversed(events) if event["kind"] == "validation"), {})
    texts = [event["text"] for event in events if event["kind"] == "message"]
    total = _steps_in_all(recipe)
    recent = [steps[number]["seconds"] for number in sorted(steps)[-WINDOW:]]
    step_s = sum(recent) / len(recent) if recent else None
    idle = None if changed is None else max(0.0, time.time() - changed)
    own = _holder(folder / "lock")
    holder = own if holder is None or own.there else holder
    members = tuple(status(path.parent, holder, member=True) for path in sorted(folder.glob("members/*/recipe.yaml")))
    state, advice = _state(folder, holder, begun=bool(steps) or bool(members), member=member)
    step = last.get("step", 0)
    return RunStatus(
        folder=str(folder),
        state=state,
        step=step,
        steps=total,
        epoch=last.get("epoch", 0) + 1 if last else 0,
        epochs=recipe.get("train", {}).get("epochs"),
        idle_s=idle,
        step_s=step_s,
        left_s=(total - step) * step_s if total and step_s and state in ("training", "silent", "stopped") else None,
        loss=last.get("terms", {}).get("loss"),
        metric=validation.get("metric"),
        scores=validation.get("scores", {}),
        checkpoint=max((path.name for path in folder.glob("checkpoints/checkpoint_*")), default=None),
        restarts=sum(text.startswith("resumed from") for text in texts),
        unsent=_unsent(folder / "tracking"),
        messages=tuple(texts[-NEWS:]),
        advice=advice,
        members=members,
    )


def _recipe(folder: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load((folder / "recipe.yaml").read_bytes())
    except (OSError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise FileNotFoundError(f"{folder} is no run: it has no recipe.yaml; give the folder that training names, such as runs/NAME")
    return recipe


def _events(path: Path) -> tuple[list[dict[str, Any]], float | None]:
    """The events, and when the last was written; half a line of a writer that is at it is left out."""
    events: list[dict[str, Any]] = []
    try:
        content, changed = path.read_bytes(), path.stat().st_mtime
    except OSError:
        return events, None
    for line in content.splitlines():
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "kind" in event:
                events.append(event)
    return events, changed


def _state(folder: Path, holder: Holder, *, begun: bool, member: bool) -> tuple[State, str]:
    if (folder / "ended").exists():
        return "ended", ""
    fault = folder / "fault"
    if fault.exists():
        reason = " ".join(fault.read_text(encoding="utf-8", errors="replace").split())
        return "failed", f"mend what it says, then continue with --resume: {reason}"
    told = _changed(folder / "events.jsonl", *folder.glob("members/*/events.jsonl"))
    if member and not told:
        return "not begun", ""  # its turn comes; whether anybody trains is said of the ensemble
    quiet_s = max(0.0, time.time() - max(told, holder.since or _changed(folder / "recipe.yaml")))
    resume = f"continue with: python workloads/train.py --resume {folder}"
    if holder.there:
        if told and quiet_s > SILENT_S:
            return "silent", f"no event for {duration(quiet_s)}: look at the workers' logs; failures.log has tracebacks of lost workers"
        return "training", ""
    if holder.there is None:
        where = f"on {holder.host}, which isn't seen from here" if holder.host else "on another host"
        advice = f"no word for {duration(quiet_s)}; if it doesn't run any more {where}, {resume}" if quiet_s > JUST_NOW_S else ""
        return "silent" if quiet_s > (SILENT_S if begun else NODES_COME_S) else "training", advice
    if begun or (folder / "lock").exists():
        return "stopped", resume
    return ("stopped", f"nobody trains it; {resume}") if quiet_s > NODES_COME_S else ("not begun", "")


def _holder(lock: Path) -> Holder:
    """By the lock of a run, which every training takes first; it needs no right to write there.

    Some file systems don't show the locks of other hosts: one that seems free says something only on the host that took it last.
    """
    try:
        with lock.open("rb") as file:
            host, since = file.read().decode(errors="replace"), os.fstat(file.fileno()).st_mtime
            there = True if _is_locked(file) else False if host == socket.gethostname() else None
            return Holder(there=there, host=host, since=since)
    except FileNotFoundError:
        return Holder(there=False)
    except OSError:
        return Holder(there=None)


def _is_locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _changed(*paths: Path) -> float:
    """When the last of them was written, in seconds since the epoch; 0 where none is there."""
    times = [0.0]
    for path in paths:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    return max(times)


def _steps_in_all(recipe: dict[str, Any]) -> int | None:
    """As training counts them: each worker's share of the clips, in whole batches and whole steps."""
    with suppress(OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        data, train = recipe["data"], recipe["train"]
        corpus = json.loads((location(data["shards"]) / "corpus.json").read_bytes())
        clips = int(corpus["splits"][data["train_split"]]["recordings"]) // max(1, train["num_workers"])
        return int(clips // train["batch_size"] // recipe["optim"]["accumulation"] * train["epochs"])
    return None


def _unsent(folder: Path) -> int:
    if not folder.is_dir():
        return 0
    spool = Spool(folder)
    return sum(1 for _ in spool.read(spool.load_state().offset))


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def lines(found: RunStatus, *, indent: str = "") -> list[str]:
    """What a person reads."""
    of = f" of {found.steps}" if found.steps else ""
    rows = [f"{found.folder}: {found.state}, step {found.step}{of}, epoch {found.epoch}{f' of {found.epochs}' if found.epochs else ''}"]
    if found.step_s is not None:
        loss = f", loss {found.loss:.3f}" if found.loss is not None else ""
        left = f", {duration(found.left_s)} left" if found.left_s is not None else ""
        rows.append(f"  {found.step_s:.3g} s a step{loss}{left}; last event {duration(found.idle_s or 0.0)} ago")
    if found.scores:
        rows.append(f"  dev {found.metric} %: {', '.join(f'{head} {score:.1f}' for head, score in found.scores.items())}")
    rows.append(f"  newest checkpoint {found.checkpoint or 'none'}, resumed {found.restarts} times, {found.unsent} records wait for the tracking server")
    rows += [f"  | {text}" for text in found.messages]
    if found.advice:
        rows.append(f"  → {found.advice}")
    rows = [indent + row for row in rows]
    for member in found.members:
        rows += lines(member, indent=f"{indent}  ")
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m cluster.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="folder or s3:// URI of the run")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    found = status_of(given.run)
    print(json.dumps(asdict(found), ensure_ascii=False, indent=1) if given.json else "\n".join(lines(found)))
    return 0 if found.well else 1


if __name__ == "__main__":
    run_entry_point(lambda: main(sys.argv[1:]), (FileNotFoundError, ConnectionError, ValueError))
