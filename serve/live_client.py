"""A live session as a caller has it; needs no model code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

Json = dict[str, Any]
END = '{"type": "end"}'


class ServiceError(Exception):
    """The service refused or is away. code: of the problem document; status: of HTTP; retry_after_s: when to come back, where it says so."""

    def __init__(self, code: str, detail: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(f"{detail} ({code})")
        self.code, self.detail, self.status, self.retry_after_s = code, detail, status, retry_after_s


async def live_session(url: str, frames: AsyncIterable[bytes], opening: Json) -> AsyncIterator[Json]:
    """Messages of the session as they come, the last one `final`. A service that can't keep up lets the frames wait. Raises ServiceError."""
    from websockets.asyncio.client import connect  # comes with Ray Serve; the other calls do without
    from websockets.exceptions import WebSocketException

    try:
        async with connect(f"ws{url.removeprefix('http').rstrip('/')}/v1/live", max_size=None) as socket:
            await socket.send(json.dumps(opening))
            sending = asyncio.create_task(_sent(socket, frames))
            try:
                async for text in socket:
                    message: Json = json.loads(text)
                    if message["type"] == "problem":
                        raise ServiceError(message["code"], message["detail"], status=message["status"])
                    yield message
                    if message["type"] == "final":
                        return
                await asyncio.wait([sending], timeout=1)  # it may have closed the socket, and ends after that
                if sending.done():
                    sending.result()  # raises what the caller's frames raised
            finally:
                sending.cancel()
    except (OSError, WebSocketException) as error:
        raise ServiceError("away", f"no live session at {url} ({str(error) or type(error).__name__}): start the service, or check the URL") from None
    raise ServiceError("away", f"{url} cut the live session off: try again")


async def _sent(socket: Any, frames: AsyncIterable[bytes]) -> None:
    try:
        async for frame in frames:
            await socket.send(frame)
        await socket.send(END)
    except Exception:
        await socket.close()
        raise
