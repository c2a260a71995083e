"""What all endpoints share: the backend, the settings, the queue, the keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request

from serve.guards import ApiKeys, Gate
from serve.problems import ProblemError
from serve.settings import ServeSettings
from serve.tasks import Backend

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Context:
    """Raises ValueError where the file of API keys holds none."""

    backend: Backend
    settings: ServeSettings
    gate: Gate = field(init=False)
    keys: ApiKeys = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", Gate(self.settings.capacity))
        object.__setattr__(self, "keys", ApiKeys.read(self.settings.api_keys_file))

    async def admit(self, request: Request) -> None:
        """Raises ProblemError unless the request carries a key, where keys are asked for."""
        self.keys.check(request.headers)


async def in_time(call: Callable[[], Awaitable[Value]], seconds: float, code: str = "timeout") -> Value:
    """The call's result. Raises ProblemError where it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await call()
    except TimeoutError:
        raise ProblemError(code, f"the model didn't answer within {seconds:g} s") from None
