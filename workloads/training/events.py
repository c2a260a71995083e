"""What a run tells while it goes: one JSON line an event, written by rank 0 into the run's folder and followed by the driver.

The file outlives workers and driver: a resumed run appends to it, and steps that were taken again replace their first telling.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

EVENTS = "events.jsonl"
Event = dict[str, Any]


class EventLog:
    """Appends events; a writer that has no path (ranks above 0) drops them."""

    def __init__(self, path: Path | None) -> None:
        self._stream = path.open("a", encoding="utf-8") if path else None

    def write(self, kind: str, **values: Any) -> None:
        if self._stream:
            self._stream.write(json.dumps({"kind": kind, **values}, ensure_ascii=False) + "\n")
            self._stream.flush()

    def close(self) -> None:
        if self._stream:
            self._stream.close()


class EventFollower:
    """Hands new events of a file to `listeners`, in a thread of the driver, until the block ends."""

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
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            for line in stream:
                if not line.endswith(b"\n"):  # half a line: its end comes with the next look
                    break
                self._offset += len(line)
                event = json.loads(line)
                for listener in self._listeners:
                    listener(event)


def read_events(path: Path) -> list[Event]:
    """All events of a run, of steps and epochs told twice the last; a torn last line (a killed writer) is left out."""
    if not path.exists():
        return []
    latest: dict[object, Event] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        key = (event["kind"], event["step"]) if event["kind"] in ("step", "validation") else number
        latest.pop(key, None)
        latest[key] = event
    return list(latest.values())
