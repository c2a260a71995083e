"""What a run tells while it goes: one JSON line an event, written by rank 0 into the run's folder and followed by the driver.

The file outlives workers and driver: a resumed run appends to it, and steps that were taken again replace their first telling.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
Event = dict[str, Any]


class EventLog:
    """Appends events; a writer that has no path (ranks above 0) drops them. A full disk costs the telling, not the run."""

    def __init__(self, path: Path | None) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644) if path else None
        self._torn = self._descriptor is not None and not _ends_with_newline(self._descriptor)  # by a writer that was killed
        self._lossy = False

    def write(self, kind: str, **values: Any) -> None:
        if self._descriptor is None:
            return
        line = ("\n" if self._torn else "") + json.dumps({"kind": kind, **values, "time": round(time.time(), 3)}, ensure_ascii=False) + "\n"
        try:
            written = os.write(self._descriptor, line.encode())  # one call: lines of several writers don't mix
            self._torn = written < len(line.encode())
        except OSError as error:
            if not self._lossy:
                print(f"{EVENTS}: can't be written ({error.strerror or error}); training goes on untold", file=sys.stderr, flush=True)
            self._lossy = True

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class EventFollower:
    """Hands new events of a file to `listeners`, in a thread of the driver, until the block ends.

    A listener that raises is left out from then on, and its traceback shown: a bug in what tells of the training must not end it.
    """

    def __init__(self, path: Path, listeners: Iterable[Callable[[Event], None]], *, interval_s: float = 0.3) -> None:
        self._path, self._listeners, self._interval = path, list(listeners), interval_s
        self._offset = path.stat().st_size if path.exists() else 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)

    def __enter__(self) -> EventFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(self._interval):
            self._read()
        self._read()

    def _read(self) -> None:
        with suppress(OSError), self._path.open("rb") as stream:  # not there yet, or storage that is away for a moment
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):  # half a line: its end comes with the next look
                    break
                self._offset += len(line)
                event = _parsed(line)
                if event is not None:
                    self._tell(event)

    def _tell(self, event: Event) -> None:
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                traceback.print_exc()
                self._listeners.remove(listener)


def read_events(path: Path) -> list[Event]:
    """All events of a run, of steps and epochs told twice the last; lines that a killed writer tore are left out."""
    latest: dict[object, Event] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n") if path.exists() else []):
        event = _parsed(line)
        if event is None:
            continue
        key = (event["kind"], event["step"]) if event["kind"] in ("step", "validation") else number
        latest.pop(key, None)
        latest[key] = event
    return list(latest.values())


def _parsed(line: bytes) -> Event | None:
    """The event of a line; None where it was torn."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "kind" in event else None


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
