"""Load on a service over HTTP: threads with a connection each, who ask again as soon as they are answered, or at a fixed pace whatever is answered."""

from __future__ import annotations

import http.client
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

FAILED = 0  # status of a request that got no answer


@dataclass
class Answers:
    """What came back. seconds: of each answer; versions: how often each version of the model answered; codes: of problems; timings: those that answers tell."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    timings: list[dict[str, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, status: int, seconds: float, content: bytes) -> None:
        with self.lock:
            self.statuses[status] += 1
            self.seconds.setdefault(status, []).append(seconds)
            if status == 200:
                answer = json.loads(content)
                self.versions[str(answer["model"]["version"])] += 1
                self.timings.append(answer.get("timings", {}))
            elif status != FAILED:
                self.codes[json.loads(content)["code"]] += 1

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def others_than(self, *statuses: int) -> int:
        """Answers of another status, and requests without an answer."""
        return sum(number for status, number in self.statuses.items() if status not in statuses)

    def percentile_ms(self, share: float, status: int = 200) -> float:
        """Time within which `share` % of the answers of a status came."""
        seconds = sorted(self.seconds[status])
        return 1e3 * seconds[max(0, math.ceil(share / 100 * len(seconds)) - 1)]


class Caller:
    """One connection to a service, opened anew where it breaks."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self._path = f"{parts.path.rstrip('/')}/v1/recognize"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def ask(self, body: bytes, answers: Answers, *, due: float | None = None, kind: str = "application/x-npz") -> int:
        """Status of one recognition. kind: of the body; due: when it should have been asked, from which its time counts."""
        began = time.perf_counter() if due is None else due
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": kind})
            response = self._connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            status, content = FAILED, b""
        answers.add(status, time.perf_counter() - began, content)
        return status


def load(url: str, bodies: Sequence[bytes], *, clients: int, requests: int, meanwhile: Callable[[Answers], None] = lambda answers: None) -> Answers:
    """`requests` recognitions by so many clients, who ask again at once; `meanwhile` runs beside them."""
    answers, left, lock = Answers(), iter(range(requests)), threading.Lock()

    def client() -> None:
        with Caller(url) as caller:
            while (number := following()) is not None:
                caller.ask(bodies[number % len(bodies)], answers)

    def following() -> int | None:
        with lock:
            return next(left, None)

    _at_once(client, clients, lambda: meanwhile(answers))
    return answers


def arrivals(url: str, bodies: Sequence[bytes], *, per_second: float, seconds: float, callers: int = 128) -> Answers:
    """Requests at a fixed pace, as of many people who know nothing of one another: answers that take long don't slow them down.

    The time of an answer counts from when its request was due: where all callers are busy, their wait is the service's doing.
    """
    answers, numbers, lock = Answers(), iter(range(max(1, int(per_second * seconds)))), threading.Lock()
    begun = time.perf_counter()

    def caller() -> None:
        with Caller(url) as each:
            while (number := following()) is not None:
                due = begun + number / per_second
                time.sleep(max(0.0, due - time.perf_counter()))
                each.ask(bodies[number % len(bodies)], answers, due=due)

    def following() -> int | None:
        with lock:
            return next(numbers, None)

    _at_once(caller, callers)
    return answers


def _at_once(work: Callable[[], None], count: int, meanwhile: Callable[[], None] = lambda: None) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join()
