"""`WS /v1/live`: frames in; a stable prefix and a tentative tail out, as the clip grows."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, WebSocket
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.websockets import WebSocketDisconnect

from serve.context import Context, in_time
from serve.guards import Gate
from serve.live_frames import LiveFrames, LiveKeypoints, LivePictures
from serve.live_session import OPENING_FRAMES, LiveSession, Opening
from serve.problems import CODES, ProblemError, invalid_parameters, problem_document
from serve.schemas import LiveStart
from serve.settings import ServeSettings
from serve.tasks import Choice

END = '{"type": "end"}'
POLICY_VIOLATION, TRY_AGAIN_LATER = 1008, 1013  # RFC 6455 and its registry


def add_live(app: FastAPI, context: Context) -> None:
    """The endpoint; sessions beyond `live_sessions` are turned away."""
    sessions = Gate(context.settings.live_sessions)
    context.metrics.live_sessions.set_function(lambda: sessions.inside)

    @app.websocket("/v1/live")
    async def live(socket: WebSocket) -> None:
        if not _same_origin(socket.headers):
            await socket.close(POLICY_VIOLATION)  # before it is accepted: 403
            return
        await socket.accept()
        try:
            async with sessions.enter():
                await _session(socket, context)
            await socket.close()
        except WebSocketDisconnect:
            return
        except ProblemError as problem:
            await _refuse(socket, problem)
        except ExceptionGroup as group:
            for error in group.exceptions:
                if isinstance(error, ProblemError):
                    await _refuse(socket, error)
                    return
            if not all(isinstance(error, WebSocketDisconnect) for error in group.exceptions):
                raise


async def _session(socket: WebSocket, context: Context) -> None:
    settings = context.settings
    start = await _start(socket, context)
    card = await in_time(context.backend.describe, settings.timeout_s)
    if card["task"] != "slr":
        raise ProblemError("not-live", "this model recognises isolated signs: send a clip of one to /v1/recognize")
    frames = frames_of(start, card, context)
    choice = Choice(head=start.head, beam_width=start.beam_width, members=start.members)
    opening = Opening(fps=start.fps, window=window_of(start, card, settings), choice=choice)
    session = LiveSession(opening, frames, context, send=socket.send_json)
    facts = {"pace_s": settings.live_pace_s, "rounds": settings.live_rounds, "depth_s": settings.live_depth_s, "window_frames": opening.window}
    await socket.send_json({"type": "ready", **facts, "model": dict(card)})
    async with asyncio.TaskGroup() as tasks:
        recognition = tasks.create_task(session.run())
        receiver = tasks.create_task(_receive(socket, session, settings.live_idle_s))
        await recognition
        receiver.cancel()


def frames_of(start: LiveStart, card: Mapping[str, Any], context: Context) -> LiveFrames:
    """Where the session's frames go. Raises ProblemError where the model can't use such."""
    if start.frames == "keypoints":
        if "keypoints" not in card["takes"]:
            raise ProblemError("unusable-keypoints", 'this model looks at pictures: open the session with "frames": "jpeg"')
        if start.num_points not in card["num_keypoints"]:
            taken = " or ".join(map(str, card["num_keypoints"])) or "no"
            raise ProblemError("unusable-keypoints", f"{start.num_points} points a frame: this model takes {taken} keypoints")
        return LiveKeypoints(start)
    if "video" not in card["takes"]:
        raise ProblemError("unsupported-media-type", "this model reads keypoints, and the service estimates none from pictures")
    width, height = start.frame_size
    if width * height > context.settings.max_pixels:
        raise ProblemError("too-large", f"pictures of {width}x{height}: the service takes up to {context.settings.max_pixels} pixels")
    return LivePictures(start, tuple(card["modalities"]), context)


def window_of(start: LiveStart, card: Mapping[str, Any], settings: ServeSettings) -> int:
    """Frames that are recognised again: the clip limit, or as many pictures as may be kept. Raises ProblemError where those are too few."""
    window = min(card["max_frames"] or settings.max_frames, settings.max_frames)
    if "frames" not in card["modalities"]:
        return window
    width, height = start.frame_size
    kept = settings.max_live_decoded_bytes // (3 * width * height)
    if kept < OPENING_FRAMES:
        raise ProblemError("too-large", f"the service has room for {kept} pictures of {width}x{height}, too few to recognise: send smaller ones")
    return min(window, kept)


async def _start(socket: WebSocket, context: Context) -> LiveStart:
    """The first message. Raises ProblemError where it isn't one, or opens nothing for want of a key."""
    message = await _next(socket, context.settings.live_idle_s)
    try:
        start = LiveStart.model_validate_json(message.get("text") or "")
    except ValidationError as error:
        raise invalid_parameters(error.errors()) from None
    given = {"x-api-key": start.api_key} if start.api_key is not None else {}
    headers = Headers({**dict(socket.headers), **given})
    context.keys.check(headers)
    context.rates.take(context.keys.caller(headers) or (socket.client.host if socket.client else ""))
    return start


async def _receive(socket: WebSocket, session: LiveSession, idle_s: float) -> None:
    while True:
        message = await _next(socket, idle_s)
        content = message.get("bytes")
        if content is not None:
            await session.add(content)
        elif "".join((message.get("text") or "").split()) == "".join(END.split()):
            session.end()
            return
        else:
            raise ProblemError("bad-request", f"frames come as binary messages, and the only text after the first one is {END}")


async def _next(socket: WebSocket, idle_s: float) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(idle_s):
            message = await socket.receive()
    except TimeoutError:
        raise ProblemError("body-timeout", f"nothing came for {idle_s:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message


async def _refuse(socket: WebSocket, problem: ProblemError) -> None:
    await socket.send_json({**problem_document(problem), "problem": problem_document(problem)["type"], "type": "problem"})
    await socket.close(TRY_AGAIN_LATER if CODES[problem.code][0] == 503 else POLICY_VIOLATION)


def _same_origin(headers: Headers) -> bool:
    """A browser tells from which page a socket is opened, and asks nobody whether it may: other pages than ours must not."""
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host")
