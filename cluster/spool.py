"""What a run logs goes to a local file of JSON lines first: a crash or a dead server loses nothing.

RUN_DIR/tracking/records.jsonl   what was logged, in order; only appended to, by any process of the run
                 files/          artifacts that wait to be sent (hard links: no second copy on the same disk)
                 state.json      how far it was sent, the run's id, registered versions; written by the sender alone
                 refused.jsonl   records that the server answered but didn't accept, each with its reason; their artifacts stay in files/
"""

import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line: what it is, its content, and the byte offsets where it begins and ends."""

    kind: str
    content: Json
    begin: int
    end: int


@dataclass(kw_only=True)
class SendState:
    """How far a spool was sent: byte offset, the run's id on the server (None: not created yet), versions by record offset.

    failures: how often the record at the offset failed although the server answered other requests.
    """

    offset: int = 0
    run_id: str | None = None
    versions: dict[str, int] = field(default_factory=dict)
    failures: int = 0


class Spool:
    """The spool below one folder. Appending is safe from several processes at once; sending is guarded by `sending`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.records_file = folder / "records.jsonl"
        self.state_file = folder / "state.json"
        self.refused_file = folder / "refused.jsonl"

    def append(self, kind: str, content: Json) -> None:
        """Write one record. Raises OSError (disk full)."""
        line = json.dumps({"kind": kind, **content}, ensure_ascii=False) + "\n"
        descriptor = os.open(self.records_file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = "\n" + line  # a line cut by a crash or a full disk must not swallow this one
            os.write(descriptor, line.encode())  # one write: lines of several processes don't mix
        finally:
            os.close(descriptor)

    def read(self, offset: int = 0) -> Iterator[Record]:
        """Yield the records from a byte offset on; a line that is cut is skipped, one that is being written ends it."""
        if not self.records_file.exists():
            return
        with self.records_file.open("rb") as file:
            file.seek(offset)
            end = offset
            for line in file:
                if not line.endswith(b"\n"):
                    return
                begin, end = end, end + len(line)
                try:
                    content = json.loads(line)
                except ValueError:
                    continue
                yield Record(kind=content.pop("kind"), content=content, begin=begin, end=end)

    def size(self) -> int:
        """Bytes appended so far."""
        return self.records_file.stat().st_size if self.records_file.exists() else 0

    def keep(self, path: Path) -> str:
        """Take a file or folder into the spool, as it is now; returns its path relative to the spool's folder."""
        place = self.folder / "files" / uuid.uuid4().hex / path.name
        place.parent.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, place, copy_function=_link)
        else:
            _link(str(path), str(place))
        return str(place.relative_to(self.folder))

    def drop(self, kept: str) -> None:
        """Forget a kept file after it was sent."""
        shutil.rmtree((self.folder / kept).parent, ignore_errors=True)

    def load_state(self) -> SendState:
        """The sender's state; a fresh one before the first sending, or after a power cut took it: sending twice adds nothing."""
        try:
            return SendState(**json.loads(self.state_file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return SendState()

    def save_state(self, state: SendState) -> None:
        """Replace the sender's state at once."""
        temporary = self.state_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(vars(state)))
        os.replace(temporary, self.state_file)

    def refuse(self, kind: str, content: Json, reason: str) -> None:
        """Set aside a record that the server doesn't accept, with its reason."""
        with self.refused_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **content, "reason": reason}, ensure_ascii=False) + "\n")

    def refused(self) -> list[Json]:
        """The records that were set aside, in order."""
        if not self.refused_file.exists():
            return []
        return [json.loads(line) for line in self.refused_file.read_text(encoding="utf-8").splitlines()]

    def take_back(self) -> int:
        """Append the records that were set aside once more, to be sent again; returns how many. Hold `sending` meanwhile."""
        records = self.refused()
        for record in records:
            self.append(record["kind"], {key: value for key, value in record.items() if key not in ("kind", "reason")})
        self.refused_file.unlink(missing_ok=True)
        return len(records)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Hold the right to send. Raises BlockingIOError when another process holds it."""
        with exclusive(self.folder / "sending.lock", wait=False):
            yield


@contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file among the processes of this host (released by the kernel when the process dies). The holder's host stays in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        with suppress(OSError):  # a full disk takes no lock away; the name is for those who look from a host where the lock isn't seen
            file.truncate(0)
            file.write(socket.gethostname().encode())
        yield


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=True)
    except OSError:  # another disk, or one without hard links
        shutil.copy2(source, target)
    return target
