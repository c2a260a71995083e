"""What of a growing clip's answer is certain: it is recognised again and again, and what stays the same and lies far enough back is taken as stable."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

Gloss = Mapping[str, Any]  # as `schemas.Gloss`, in frames of the whole stream


class LivePrefix:
    """stable: glosses that won't change any more, they only become more; tentative: the rest of the latest answer, which may.

    A gloss becomes stable when the last `num_rounds` answers had it at the same place after the stable ones, all before it being stable too, and when
    its end lies at least `depth` frames before the newest frame: the network looks both ways in time, so that what comes next still changes it before.
    """

    def __init__(self, *, num_rounds: int, depth: float) -> None:
        self.stable: list[Gloss] = []
        self.tentative: list[Gloss] = []
        self._num_rounds, self._depth = num_rounds, depth
        self._seen: deque[list[str]] = deque(maxlen=num_rounds)  # of the last answers, the names after the stable ones

    def update(self, glosses: Sequence[Gloss], *, num_frames: int) -> None:
        """An answer to the clip as it is now, `num_frames` long."""
        tail = self._after_stable(glosses)
        self._seen.append([gloss["gloss"] for gloss in tail])
        count = 0
        if len(self._seen) == self._num_rounds:
            while count < len(tail) and tail[count]["end_frame"] <= num_frames - self._depth and self._agreed(count):
                count += 1
        self.tentative = tail
        self._settle(count)

    def leave(self, first_frame: int) -> None:
        """Frames before this one won't be recognised again: what ended before is as certain as it gets."""
        self._settle(sum(gloss["end_frame"] <= first_frame for gloss in self.tentative))

    def finish(self) -> None:
        """No more frames come."""
        self._settle(len(self.tentative))

    def _after_stable(self, glosses: Sequence[Gloss]) -> list[Gloss]:
        if not self.stable:
            return list(glosses)
        last = self.stable[-1]
        tail = [gloss for gloss in glosses if gloss["start_frame"] + gloss["end_frame"] >= 2 * last["end_frame"]]
        # The last stable gloss may have moved on by some frames since: it isn't signed twice.
        again = bool(tail) and tail[0]["gloss"] == last["gloss"] and tail[0]["start_frame"] <= last["end_frame"]
        return tail[1:] if again else tail

    def _agreed(self, position: int) -> bool:
        return all(len(names) > position and names[position] == self._seen[-1][position] for names in self._seen)

    def _settle(self, count: int) -> None:
        self.stable += self.tentative[:count]
        self.tentative = self.tentative[count:]
        for names in self._seen:
            del names[:count]
