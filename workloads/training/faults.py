"""Faults that end a run, and how every rank comes to know of them.

A fault that all ranks meet at the same step (a loss that isn't finite, a damaged checkpoint) is returned as the outcome. One that a
single rank meets (a clip of its share that can't be read) would leave the others waiting in a collective for ever: the rank writes it into
the run's folder and fails, Ray Train restarts the workers, and all of them find it there.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from models.errors import TrainingError

FAULT_FILE = "fault"
NAMED = 5  # recordings that a message names

T = TypeVar("T")


def gather(value: T) -> list[T]:
    """The value of every rank, in their order; every rank must call it."""
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return [value]
    values: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_shared_folder(folder: Path) -> None:
    """Raises TrainingError, on every rank, where one of them doesn't see the run's folder."""
    blind = sorted({host for host, sees in gather((socket.gethostname(), folder.is_dir())) if not sees})
    if blind:
        raise TrainingError(f"{folder} is not seen on {', '.join(blind)}: set run.root, or SIGNRAY_WORK for runs in a store, to storage that all nodes share")


def write_fault(folder: Path, error: Exception) -> None:
    """Leave a fault for the workers that come after this one."""
    with suppress(OSError):  # then it is met again
        (folder / FAULT_FILE).write_text(str(error), encoding="utf-8")


def read_fault(folder: Path) -> str | None:
    """The fault that a worker left since the driver's start."""
    try:
        return (folder / FAULT_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def clear_fault(folder: Path) -> None:
    """Forget the fault of the start before."""
    (folder / FAULT_FILE).unlink(missing_ok=True)


def some(names: Sequence[str], *, limit: int = NAMED) -> str:
    """Up to `limit` names, and how many more."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
