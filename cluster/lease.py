"""One writer at a time for a folder in a store, among the processes of all hosts: what a lock file is on a disk."""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from cluster.storage import Place

RENEWED_S, GONE_S, LOOK_S = 10.0, 60.0, 2.0  # a holder that was silent for so long is gone
READINGS = 5
SETTLED_S = 0.3  # of two that begin at the same moment the later one wins, and the other sees it


class Lease:
    """A held place. `held` turns False when another process has taken it, after this one was silent for too long."""

    def __init__(self, place: Place) -> None:
        self.place, self.held = place, True
        self._id = uuid.uuid4().hex
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def take(self) -> None:
        """Raises BlockingIOError, which says by whom, while another process holds it; ConnectionError as every access does."""
        holder = self._vacated()
        self._write()
        if holder is None:
            time.sleep(SETTLED_S)
            if (now := self._read()) and now["id"] != self._id:
                raise BlockingIOError(f"process {now['pid']} on {now['host']}, which began at the same moment")
        self._thread.start()

    def _vacated(self) -> dict[str, Any] | None:
        """The last holder, who is gone; one who isn't heard of meanwhile is waited for. Raises BlockingIOError for one who is."""
        first = holder = self._read()
        while holder and not _is_gone(holder):
            if first and holder["time"] != first["time"]:
                raise BlockingIOError(f"process {holder['pid']} on {holder['host']}")
            if holder is first:
                silent = time.time() - holder["time"]
                left = f"it counts as gone after {GONE_S:.0f} s"
                print(f"{self.place} is process {holder['pid']}'s on {holder['host']}, silent for {silent:.0f} s: {left}", file=sys.stderr, flush=True)
            time.sleep(min(LOOK_S, RENEWED_S / 2))
            holder = self._read()
        return holder

    def holder(self) -> dict[str, Any] | None:
        """Who holds it: id, host, pid, and when he was last heard of; None for nobody."""
        return self._read()

    def release(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        with suppress(OSError):
            if self.held and (now := self._read()) and now["id"] == self._id:
                self.place.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_S):
            with suppress(OSError):  # the store is away: the next time
                now = self._read()
                if now and now["id"] != self._id:
                    self.held = False
                    return
                self._write()

    def _read(self) -> dict[str, Any] | None:
        for _ in range(READINGS):
            try:
                holder: dict[str, Any] = json.loads(self.place.read_bytes())
            except FileNotFoundError:
                return None
            except ValueError:  # renewed between the question for its size and the reading
                continue
            return holder
        return None  # it was never one of ours

    def _write(self) -> None:
        holder = {"id": self._id, "host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}
        self.place.write_text(json.dumps(holder))


def is_held(place: Place) -> bool:
    """Whether a process that isn't gone holds the place."""
    holder = Lease(place).holder()
    return holder is not None and not _is_gone(holder)


def _is_gone(holder: dict[str, Any]) -> bool:
    """Whether it was killed on this host, or has long been silent."""
    dead = holder["host"] == socket.gethostname() and not psutil.pid_exists(int(holder["pid"]))
    return dead or time.time() - float(holder["time"]) > GONE_S


@contextmanager
def leased(place: Place) -> Iterator[Lease]:
    """Hold an object of a store for the time of the block. Raises as `Lease.take`."""
    lease = Lease(place)
    lease.take()
    try:
        yield lease
    finally:
        lease.release()
