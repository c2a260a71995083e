"""What all endpoints share: the backend, the settings, the queue, the keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from starlette.requests import HTTPConnection

from serve.guards import ApiKeys, Gate
from serve.metrics import Metrics
from serve.problems import ProblemError
from serve.rates import RateLimit
from serve.settings import ServeSettings
from serve.tasks import Backend, Reply, Task

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Raises ValueError where the file of API keys holds none."""

    backend: Backend
    settings: ServeSettings
    gate: Gate = field(init=False)
    pictures: Gate = field(init=False)
    keys: ApiKeys = field(init=False)
    rates: RateLimit = field(init=False)
    metrics: Metrics = field(init=False, default_factory=Metrics)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", Gate(self.settings.capacity))
        object.__setattr__(self, "pictures", Gate(self.settings.picture_capacity))
        object.__setattr__(self, "keys", ApiKeys.read(self.settings.api_keys_file))
        object.__setattr__(self, "rates", RateLimit(self.settings.requests_per_minute, self.settings.request_burst))
        self.metrics.capacity.set(self.settings.capacity)
        self.metrics.in_work.set_function(lambda: self.gate.inside)

    async def admit(self, request: Request) -> None:
        """Raises ProblemError unless the request carries a key, where keys are asked for."""
        self.keys.check(request.headers)

    async def admit_work(self, request: Request) -> None:
        """As `admit`, and the caller's rate is counted."""
        await self.admit(request)
        self.rates.take(self.caller(request))

    def caller(self, request: HTTPConnection) -> str:
        """Who asks: the key, by its digest, or without keys the address."""
        return self.keys.caller(request.headers) or (request.client.host if request.client else "")

    async def recognise(self, task: Task) -> Reply:
        """The backend's reply, counted."""
        reply = await self.backend.recognise(task)
        self.metrics.replied(reply)
        return reply


async def in_time(call: Callable[[], Awaitable[Value]], seconds: float, code: str = "timeout") -> Value:
    """The call's result. Raises ProblemError where it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await call()
    except TimeoutError:
        raise ProblemError(code, f"the model didn't answer within {seconds:g} s") from None
