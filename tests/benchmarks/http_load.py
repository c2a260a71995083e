"""Load on a service over HTTP: threads with a connection each, as many requests at a time as there are threads."""

from __future__ import annotations

import http.client
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

FAILED = 0  # status of a request that got no answer
HEADERS = {"Content-Type": "application/x-npz"}


@dataclass
class Answers:
    """What came back. seconds: of each answer; versions: how often each version of the model answered; codes: of problems."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, status: int, seconds: float, content: bytes) -> None:
        with self.lock:
            self.statuses[status] += 1
            self.seconds.setdefault(status, []).append(seconds)
            if status not in (200, FAILED):
                self.codes[json.loads(content)["code"]] += 1
            if status == 200:
                self.versions[str(json.loads(content)["model"]["version"])] += 1

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def others_than(self, *statuses: int) -> int:
        """Answers of another status, and requests without an answer."""
        return sum(number for status, number in self.statuses.items() if status not in statuses)

    def median_ms(self, status: int = 200) -> float:
        return 1e3 * statistics.median(self.seconds[status])


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

    def ask(self, body: bytes, answers: Answers) -> int:
        """Status of one recognition."""
        began = time.perf_counter()
        try:
            self._connection.request("POST", self._path, body, HEADERS)
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

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    meanwhile(answers)
    for thread in threads:
        thread.join()
    return answers
