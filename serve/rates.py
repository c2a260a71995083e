"""How many requests a caller may make: a bucket of tokens each, which fills at a fixed rate."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from serve.problems import ProblemError

MAX_CALLERS = 10_000  # that are remembered; the one that was away longest is forgotten first


class RateLimit:
    """per_minute: requests of one caller in the long run, None for any number; burst: at once."""

    def __init__(self, per_minute: float | None, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._burst, self._clock = burst, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller → tokens left, and when that was

    def take(self, caller: str) -> None:
        """Raises the problem `rate-limited` where the caller's bucket is empty; it says when there is a token again."""
        if self._per_second is None:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        if tokens < 1:
            self._buckets[caller] = tokens, now
            wait_s = max(1, math.ceil((1 - tokens) / self._per_second))
            raise ProblemError(
                "rate-limited", f"more than {60 * self._per_second:g} requests a minute; try again in {wait_s} s", headers={"Retry-After": str(wait_s)}
            )
        self._buckets[caller] = tokens - 1, now
        if len(self._buckets) > MAX_CALLERS:
            self._buckets.popitem(last=False)
