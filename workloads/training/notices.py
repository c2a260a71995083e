"""Notices that a node is to be taken away: a checkpoint at once, and one more shortly before."""

from __future__ import annotations

import time

from workloads.training.faults import gather
from workloads.training.session import Session

EVERY_S = 5.0  # as often as Ray looks; each look of all ranks is a barrier
LAST_S = 12.0  # before the node goes: time for the last checkpoint


class Notices:
    """When all ranks look for a notice, and whether what they find is worth a checkpoint."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._asked = time.monotonic()
        self._kept: list[str] = []

    def time(self) -> bool:
        """Rank 0's clock says that it is time to look."""
        return time.monotonic() - self._asked >= EVERY_S

    def due(self) -> float | None:
        """Seconds until a node goes, where a checkpoint is due for it; every rank must call it, and all get rank 0's answer: clocks differ."""
        self._asked = time.monotonic()
        left = gather(self._session.notice())[0]
        if left is None:
            self._kept.clear()
            return None
        stage = "last" if left <= LAST_S else "first"
        if stage in self._kept:
            return None
        self._kept.append(stage)
        return left
