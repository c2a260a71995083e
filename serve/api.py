"""HTTP API v1 on top of any backend: of Ray Serve in service, of this process in tests."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse

from models.version import VERSION
from serve.bodies import BY_NAME, KINDS, Facts, read_body, read_clip
from serve.forms import FIELD
from serve.guards import ApiKeys, Gate, Guard
from serve.problems import ProblemError, add_problem_handlers, problem_responses
from serve.schemas import KEYPOINTS_EXAMPLE, MODEL_EXAMPLE, SENTENCE_EXAMPLE, SIGN_EXAMPLE, Answer, Health, KeypointDocument, Models
from serve.settings import ServeSettings
from serve.tasks import Backend, Choice, Reply, Task

ABOUT = """Signing in, glosses out: keypoints of a clip are answered by the glosses that were signed, with their times and confidences, or by the
likeliest isolated signs. Errors are problem documents (RFC 9457) with a stable `code`; 503 says when to come back. Nothing of a request is kept."""
READ_ERRORS = ("bad-request", "unauthorized", "body-timeout", "too-large", "unsupported-media-type", "unreadable", "unusable-keypoints")
SHORT_BYTES = 1 << 18
Value = TypeVar("Value")
_BINARY = {"type": "string", "format": "binary"}


def build_api(backend: Backend, settings: ServeSettings) -> FastAPI:
    """The application. Raises ValueError where the file of API keys holds none."""
    app = FastAPI(title="signray", version=VERSION, description=ABOUT, docs_url=None, redoc_url=None)  # their pages load scripts of other hosts
    gate, keys = Gate(settings.capacity), ApiKeys.read(settings.api_keys_file)
    app.state.gate, app.state.backend = gate, backend
    app.add_middleware(Guard)
    add_problem_handlers(app)

    async def key_checked(request: Request) -> None:
        keys.check(request.headers)

    @app.post(
        "/v1/recognize",
        tags=["recognition"],
        summary="Recognise the signs of a clip",
        dependencies=[Depends(key_checked)],
        responses={
            200: {"model": Answer, "content": {"application/json": {"examples": {"sentence": {"value": SENTENCE_EXAMPLE}, "sign": {"value": SIGN_EXAMPLE}}}}},
            **problem_responses(*READ_ERRORS, "invalid-parameter", "unknown-head", "internal", "overloaded", "not-ready", "timeout"),
        },
        openapi_extra={"requestBody": request_body()},
    )
    async def recognize(
        request: Request,
        head: Annotated[str | None, Query(max_length=100, description="head that answers (default: the bundle's choice)")] = None,
        beam_width: Annotated[int | None, Query(ge=1, le=settings.max_beam_width, description="width of the beam search (default: the bundle's)")] = None,
        heads: Annotated[bool, Query(description="tell also what each head recognised")] = False,
        name: Annotated[str | None, Query(min_length=1, max_length=1000, description="what the answer calls the clip; a label, never a path")] = None,
        frame_size: Annotated[
            str | None, Query(pattern=r"^[1-9]\d{0,5}x[1-9]\d{0,5}$", description="WIDTHxHEIGHT in pixels, instead of what the file says")
        ] = None,
        fps: Annotated[float | None, Query(gt=0, le=1000, description="frames per second, instead of what the file says")] = None,
    ) -> JSONResponse:
        """Keypoints as JSON, `.npz` (arrays keypoints, frame_size, fps; no pickles) or `.pose`, as the body itself or the field `file` of a form."""
        start = time.perf_counter()
        width, _, height = (frame_size or "").partition("x")
        facts = Facts(name=name, frame_size=(int(width), int(height)) if frame_size else None, fps=fps)
        choice = Choice(head=head, beam_width=beam_width, heads=heads)
        async with gate.enter():
            body = await read_body(request, settings)
            content_type = request.headers.get("content-type", "")
            # A short body is read in less time than it takes to hand it to a thread.
            short = len(body) <= SHORT_BYTES
            clip = read_clip(content_type, body, facts, settings) if short else await asyncio.to_thread(read_clip, content_type, body, facts, settings)
            read = time.perf_counter()
            reply = await _in_time(lambda: backend.recognise(Task(clip=clip, choice=choice)), settings.timeout_s)
        return JSONResponse(_answer(reply, start=start, read=read))

    _add_service_endpoints(app, backend, settings, Depends(key_checked))
    return app


def _add_service_endpoints(app: FastAPI, backend: Backend, settings: ServeSettings, key_checked: Any) -> None:
    """What answers, and whether it does."""

    @app.get(
        "/v1/models",
        tags=["service"],
        summary="What answers",
        dependencies=[key_checked],
        responses={
            200: {"model": Models, "content": {"application/json": {"example": {"models": [MODEL_EXAMPLE]}}}},
            **problem_responses("unauthorized", "internal", "not-ready"),
        },
    )
    async def models() -> JSONResponse:
        """The models of the service: system, heads, checksum, scores of training."""
        return JSONResponse({"models": [dict(await _in_time(backend.describe, settings.timeout_s))]})

    @app.get("/v1/health/live", tags=["service"], summary="Whether the service lives", responses={200: {"model": Health}, **problem_responses("internal")})
    async def live() -> JSONResponse:
        """Answers as long as the front of the service runs."""
        return JSONResponse({"status": "live"})

    @app.get("/v1/health/ready", tags=["service"], summary="Whether it can answer", responses={200: {"model": Health}, **problem_responses("not-ready")})
    async def ready() -> JSONResponse:
        """Answers 200 when the model is loaded and answers; never asks for a key."""
        await _in_time(backend.describe, settings.ready_timeout_s, "not-ready")
        return JSONResponse({"status": "ready"})


def request_body() -> dict[str, Any]:
    """The bodies that `/v1/recognize` takes, for OpenAPI."""
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: {**_BINARY, "description": "a .npz, .pose or .json file"}}}
    content: dict[str, Any] = {"application/json": {"schema": KeypointDocument.model_json_schema(), "example": KEYPOINTS_EXAMPLE}}
    content |= {media_type: {"schema": _BINARY} for media_type in (*KINDS, *BY_NAME) if media_type != "application/json"}
    content["multipart/form-data"] = {"schema": form}
    return {"required": True, "content": content}


async def _in_time(call: Callable[[], Awaitable[Value]], seconds: float, code: str = "timeout") -> Value:
    """The call's result. Raises ProblemError where it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await call()
    except TimeoutError:
        raise ProblemError(code, f"the model didn't answer within {seconds:g} s") from None


def _answer(reply: Reply, *, start: float, read: float) -> dict[str, Any]:
    if reply.record is None:
        raise ProblemError(reply.code, reply.detail)
    end = time.perf_counter()
    timings = {"read_ms": read - start, "recognise_ms": end - read, "total_ms": end - start}
    milliseconds = {name: round(1e3 * seconds, 3) for name, seconds in timings.items()}
    facts = {"network_ms": round(reply.network_ms, 3), "batch_size": reply.batch_size}
    return {**reply.record, "model": dict(reply.model), "timings": {**milliseconds, **facts}}
