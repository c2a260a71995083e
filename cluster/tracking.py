"""Tracking of a run: what is logged goes to a spool in the run's folder and from there to MLflow, in the background.

    driver: MlflowTracker(run_dir) ──▶ RUN_DIR/tracking/ ──thread──▶ MLflow

`SpoolTracker` is the half that writes only, for a process that shall not wait for MLflow's import.

Logging never raises and never waits for a network. When the server is away the training goes on; what couldn't be sent is sent
when the server is back, or after the run has ended by

    python -m cluster.tracking send RUN_DIR [--tracking-uri URI]

A record that the server answers but never takes (its run was deleted there, say) is set aside in `refused.jsonl`, so that the rest arrives; the run
says so, and `send --again` tries it once more.
"""

import argparse
import math
import re
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from cluster.environment import set_defaults
from cluster.sender import Sender, is_network_error, resolve_uri
from cluster.spool import Json, Spool

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
Notify = Callable[[str], None]

SPOOL_FOLDER = "tracking"
BUNDLE_FOLDER = "bundle"
_LONGEST_PARAM, _LONGEST_TAG, _LONGEST_NAME, _LONGEST_DIGEST = 6000, 5000, 250, 36  # MLflow's limits in characters
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)


class Tracker(Protocol):
    """Where a run writes down what it is and how it goes."""

    def log_params(self, values: Mapping[str, object]) -> None:
        """Settings of the run, by name."""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Numbers at a step; NaN is kept as such."""

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Short texts by which runs are found."""

    def log_dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, object]) -> None:
        """Data that the run learns from: their checksum, where they lie, and counts."""

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """A file or folder as it is now, below `folder` of the run's artifacts."""

    def log_text(self, text: str, name: str, folder: str = "") -> None:
        """A text as a file."""

    def register(self, path: Path, *, name: str, alias: str | None = None, tags: Mapping[str, str] | None = None) -> int | None:
        """A folder as the next version of a model; returns its number, or None where it is only known later."""

    def flush(self, *, force: bool = False, timeout_s: float = 30.0) -> bool:
        """Send soon, or with `force` now, waiting for it; returns whether all is sent."""

    def close(self, status: Status = "FINISHED") -> None:
        """End the run with its status."""


class NullTracker:
    """A tracker that writes nothing down."""

    def log_params(self, values: Mapping[str, object]) -> None: ...
    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None: ...
    def set_tags(self, values: Mapping[str, object]) -> None: ...
    def log_dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, object]) -> None: ...
    def log_artifact(self, path: Path, folder: str = "") -> None: ...
    def log_text(self, text: str, name: str, folder: str = "") -> None: ...
    def register(self, path: Path, *, name: str, alias: str | None = None, tags: Mapping[str, str] | None = None) -> int | None:
        return None

    def flush(self, *, force: bool = False, timeout_s: float = 30.0) -> bool:
        return True

    def close(self, status: Status = "FINISHED") -> None: ...


class SpoolTracker:
    """Writes to the spool of a run and sends nothing: for a process beside the one that holds the `MlflowTracker`.

    A point that the run has logged before it was interrupted, with the same step and value, is not logged again.
    """

    def __init__(self, run_dir: Path, *, notify: Notify | None = None) -> None:
        self.run_dir = run_dir
        self.spool = Spool(run_dir / SPOOL_FOLDER)
        self._notify = notify or _to_stderr
        self._lossy = False
        self._logged_before = {
            _point(name, record.content["step"], value)
            for record in self.spool.read()
            if record.kind == "metrics"
            for name, value in record.content["values"].items()
        }

    def log_params(self, values: Mapping[str, object]) -> None:
        texts = {_name(name): str(value) for name, value in values.items()}
        self._append("params", {"values": {name: _shorten(text, _LONGEST_PARAM) for name, text in texts.items()}})
        for name, text in texts.items():
            if len(text) > _LONGEST_PARAM:
                self.log_text(text, f"{_NOT_IN_NAMES.sub('_', name).replace('/', '_')}.txt", "params")

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        new = {_name(name): float(value) for name, value in values.items() if _point(_name(name), step, float(value)) not in self._logged_before}
        if new:
            self._append("metrics", {"values": new, "step": step})

    def set_tags(self, values: Mapping[str, object]) -> None:
        self._append("tags", {"values": {_name(name): _shorten(str(value), _LONGEST_TAG) for name, value in values.items()}})

    def log_dataset(self, name: str, *, digest: str, source: str, profile: Mapping[str, object]) -> None:
        self._append("dataset", {"name": _name(name), "digest": digest[:_LONGEST_DIGEST], "source": source, "profile": dict(profile)})

    def log_artifact(self, path: Path, folder: str = "") -> None:
        self._append_kept("artifact", path, {"folder": folder})

    def log_text(self, text: str, name: str, folder: str = "") -> None:
        def write() -> str:
            place = self.spool.folder / "files" / uuid.uuid4().hex / name
            place.parent.mkdir(parents=True)
            place.write_text(text, encoding="utf-8")
            return str(place.relative_to(self.spool.folder))

        self._guard(lambda: self._append("artifact", {"file": write(), "folder": folder}))

    def register(self, path: Path, *, name: str, alias: str | None = None, tags: Mapping[str, str] | None = None) -> int | None:
        # In nanoseconds: of two that register in the same millisecond the later one keeps the alias, too.
        content = {"folder": BUNDLE_FOLDER, "name": name, "alias": alias, "tags": dict(tags or {}), "time_ns": time.time_ns()}
        self._append_kept("register", path, content)
        return None

    def flush(self, *, force: bool = False, timeout_s: float = 30.0) -> bool:
        return self.spool.load_state().offset >= self.spool.size()

    def close(self, status: Status = "FINISHED") -> None:
        """Nothing: the run is ended by the process that sends."""

    def _append_kept(self, kind: str, path: Path, content: Json) -> None:
        self._guard(lambda: self._append(kind, {"file": self.spool.keep(path), **content}))

    def _append(self, kind: str, content: Json) -> None:
        self._guard(lambda: self.spool.append(kind, {**content, "time": time.time_ns() // 1_000_000}))

    def _guard(self, write: Callable[[], None]) -> None:
        """Nothing that a run logs may end it: not a full disk, not an artifact that isn't there."""
        try:
            write()
        except FileNotFoundError as error:
            self._notify(f"tracking: {error.filename}: no such file; it is not logged.")
        except OSError as error:
            if not self._lossy:
                self._notify(f"tracking: can't write to {self.spool.folder} ({error.strerror or error}); what is logged now is lost until there is room.")
            self._lossy = True


class MlflowTracker(SpoolTracker):
    """Writes to the spool of a run and sends it to MLflow from a thread; a run that has a spool already is gone on with.

    `tracking_uri` None means MLFLOW_TRACKING_URI, else an SQLite file `mlflow.db` below `store` (default: the folder that holds
    the run's folder), with the artifacts in `artifacts/` beside it, or at the URI `artifacts`; a server has a place of its own for them.
    """

    def __init__(
        self,
        run_dir: Path,
        *,
        experiment: str,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        store: Path | None = None,
        artifacts: str | None = None,
        tags: Mapping[str, object] | None = None,
        notify: Notify | None = None,
        interval_s: float = 5.0,
        retry_s: float = 15.0,
    ) -> None:
        super().__init__(run_dir, notify=notify)
        self._interval_s, self._retry_s = interval_s, retry_s
        created = next((record.content for record in self.spool.read() if record.kind == "create"), None)
        if created is None:
            created = _create_record(run_dir, experiment, run_name, resolve_uri(tracking_uri, store or run_dir.resolve().parent), store, tags, artifacts)
            self._append("create", created)
        else:
            self._append("status", {"status": "RUNNING"})
            if tags:
                self.set_tags(tags)
        self.tracking_uri: str = created["tracking_uri"]
        if tracking_uri and tracking_uri != self.tracking_uri:
            self._notify(f"tracking: this run began at {self.tracking_uri} and goes on there.")
        self._sender = Sender(self.spool, self.tracking_uri)
        self._away = False
        self._attempts = 0
        self._num_refused = len(self.spool.refused())
        self._condition = threading.Condition()
        self._forced = self._busy = self._closing = False
        self._thread = threading.Thread(target=self._send_until_closed, name="tracking", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The run's id in MLflow; None while the server hasn't answered yet."""
        return self._sender.state.run_id

    def register(self, path: Path, *, name: str, alias: str | None = None, tags: Mapping[str, str] | None = None) -> int | None:
        begin = self.spool.size()
        super().register(path, name=name, alias=alias, tags=tags)
        self.flush(force=True, timeout_s=120.0)
        versions = {int(offset): version for offset, version in self._sender.state.versions.items()}
        return versions[max(versions)] if versions and max(versions) >= begin else None

    def flush(self, *, force: bool = False, timeout_s: float = 30.0) -> bool:
        with self._condition:
            ticket = self._attempts + (2 if self._busy else 1)  # an attempt that is on its way may have read too early
            self._forced = self._forced or force
            self._condition.notify_all()
            if force:
                self._condition.wait_for(lambda: self._attempts >= ticket or not self._sender.pending(), timeout_s)
        return self._sender.pending() == 0

    def close(self, status: Status = "FINISHED") -> None:
        if self._closing:
            return
        self._append("status", {"status": status})
        self.flush(force=True, timeout_s=60.0)
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join(timeout=5.0)
        if self._sender.pending():
            self._notify(f"tracking: {self.tracking_uri} didn't take everything; nothing is lost. Send the rest with\n  {send_command(self.run_dir)}")

    def _send_until_closed(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._forced or self._closing, self._retry_s if self._away else self._interval_s)
                if self._closing:
                    return
                self._forced, self._busy = False, True
            self._attempt()
            with self._condition:
                self._attempts += 1
                self._busy = False
                self._condition.notify_all()

    def _attempt(self) -> None:
        try:
            self._sender.send()
        except Exception as error:  # whatever MLflow, its database or the network raises: the training doesn't care
            if not self._away:
                state = "answers, but fails" if self._sender.state.failures else "is away"
                self._notify(f"tracking: {self.tracking_uri} {state} ({_reason(error)}); the run goes on, what it logs waits in {self.spool.folder}.")
            self._away = True
        else:
            if self._away:
                self._notify(f"tracking: {self.tracking_uri} is back; all that waited is sent.")
            self._away = False
        self._tell_refused()

    def _tell_refused(self) -> None:
        refused = self.spool.refused()
        if len(refused) > self._num_refused:
            self._notify(
                f"tracking: {self.tracking_uri} refused {len(refused) - self._num_refused} records ({_first_line(refused[-1]['reason'])}); "
                f"they are kept in {self.spool.refused_file}. Try them again with\n  {send_command(self.run_dir)} --again"
            )
        self._num_refused = len(refused)


def send_command(run_dir: Path) -> str:
    """The command that sends what is left of a run."""
    return f"python -m cluster.tracking send {shlex.quote(str(run_dir))}"


def send(run_dir: Path, tracking_uri: str | None = None, *, again: bool = False) -> str:
    """Send what is left of a run's spool, with `again` also what the server refused before; returns the run's id.

    Raises FileNotFoundError without a spool, BlockingIOError while another process sends it, ConnectionError when MLflow is away.
    """
    folder = run_dir / SPOOL_FOLDER
    if not (folder / "records.jsonl").exists():
        raise FileNotFoundError(f"{folder} holds no records; give the folder of a run.")
    spool = Spool(folder)
    created = next((record.content for record in spool.read() if record.kind == "create"), None)
    if created is None:
        raise FileNotFoundError(f"{folder} doesn't say where its run is tracked; give the folder of a run that was tracked.")
    sender = Sender(spool, tracking_uri or created["tracking_uri"])
    try:
        if again:
            with spool.sending():
                spool.take_back()
        _send_all(sender)
    except BlockingIOError:
        raise BlockingIOError(f"{run_dir} is being sent by another process; try again when its run has ended.") from None
    except Exception as error:
        raise ConnectionError(f"{sender.tracking_uri} is away ({_reason(error)}); start it and try again.") from error
    return str(sender.state.run_id)


def _send_all(sender: Sender) -> None:
    """`Sender.send`, repeated for a record that fails although the server answers, until it is sent or set aside."""
    while True:
        before = (sender.state.offset, sender.state.failures)
        try:
            return sender.send()
        except Exception as error:
            if is_network_error(error) or (sender.state.offset, sender.state.failures) == before:
                raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `python -m cluster.tracking`."""
    parser = argparse.ArgumentParser(prog="python -m cluster.tracking", description="Send what a run logged while its MLflow server was away.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("send", help="send what is left of a run")
    command.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    command.add_argument("--tracking-uri", help="another server than the run began with (for a run that it doesn't know yet)")
    command.add_argument("--again", action="store_true", help="also what the server has refused before")
    options = parser.parse_args(arguments)
    set_defaults()
    try:
        run_id = send(options.run_dir, options.tracking_uri, again=options.again)
        refused = Spool(options.run_dir / SPOOL_FOLDER).refused()
        if refused:
            print(
                f"{len(refused)} records of {options.run_dir} are refused ({_first_line(refused[-1]['reason'])}); all else is sent (run {run_id})",
                file=sys.stderr,
            )
            return 1
        print(f"all of {options.run_dir} is sent (run {run_id})")
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _create_record(
    run_dir: Path, experiment: str, run_name: str | None, uri: str, store: Path | None, tags: Mapping[str, object] | None, artifacts: str | None
) -> Json:
    root = (store or run_dir.resolve().parent).resolve()
    return {
        "id": uuid.uuid4().hex,
        "experiment": experiment,
        "name": run_name or run_dir.name,
        "tracking_uri": uri,
        # A server has its own place for artifacts; SQLite's default is relative to the working directory of the moment.
        "artifact_location": artifacts or (root / "artifacts").as_uri() if uri.startswith("sqlite:") else None,
        "tags": {_name(name): _shorten(str(value), _LONGEST_TAG) for name, value in (tags or {}).items()},
    }


def _point(name: str, step: int, value: float) -> int:
    return hash((name, step, "nan" if math.isnan(value) else value))


def _name(name: str) -> str:
    """A name that MLflow accepts: other characters become underscores."""
    return _NOT_IN_NAMES.sub("_", name)[:_LONGEST_NAME]


def _shorten(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {_first_line(str(error))}"


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:160]


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
