"""What stands before the endpoints: security headers on every answer, API keys, the bounded queue."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import ProblemError, internal_problem

DRAIN_PAUSE_S = 0.05
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=()",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: adds the security headers, and answers a bug with a problem document."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)  # the page has its own policy
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:
            response = internal_problem(error)
            if started:
                raise
            await response(scope, receive, guarded)


class Gate:
    """A bounded queue: who comes when `capacity` requests are in work or waiting is turned away at once."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.inside, self.closed = capacity, 0, False

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Raises the problem `overloaded` where there is no room, `stopping` where it is closed."""
        self.require_open()
        if self.inside >= self.capacity:
            raise ProblemError("overloaded", f"{self.capacity} requests are in work or waiting; try again")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def require_open(self) -> None:
        """Raises the problem `stopping` where it is closed."""
        if self.closed:
            raise ProblemError("stopping", "the service is ending and takes no more; ask again later")

    async def drain(self, seconds: float) -> int:
        """Close it for good, and wait for those inside; how many were left after so long."""
        self.closed = True
        deadline = time.monotonic() + seconds
        while self.inside and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_PAUSE_S)
        return self.inside


class ApiKeys:
    """The keys that open the service; none at all leave it open. Only their digests are held."""

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def read(cls, file: Path | None) -> ApiKeys:
        """Keys of a file, one a line. Raises ValueError where it holds none: an empty file must not open the service."""
        if file is None:
            return cls([])
        keys = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        if not keys:
            raise ValueError(f"{file}: holds no API key; write one a line, or leave the file out")
        return cls(keys)

    def caller(self, headers: Headers) -> str | None:
        """Digest of the key that the headers carry, for counting; None where no keys are asked for."""
        return _given(headers).hex() if self._digests else None

    def check(self, headers: Headers) -> None:
        """Raises the problem `unauthorized` unless `Authorization: Bearer KEY` or `X-API-Key: KEY` names one of the keys."""
        if not self._digests:
            return
        given = _given(headers)
        # All of them are compared, each in constant time: how long it takes tells nothing of the keys.
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        if not any(matches):
            raise ProblemError("unauthorized", "send a key as `Authorization: Bearer KEY`", headers={"WWW-Authenticate": "Bearer"})


def _given(headers: Headers) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return _digest(token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
