"""What answers, whether it does, and clips to try it on."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

from typing import Annotated

from fastapi import Depends, FastAPI, Path, Response
from fastapi.responses import JSONResponse

from serve.context import Context, in_time
from serve.problems import ProblemError, problem_responses
from serve.schemas import MODEL_EXAMPLE, SAMPLE_EXAMPLE, Health, Models, Samples

AWAY = ("unauthorized", "internal", "not-ready", "timeout")
NPZ, MP4 = "application/x-npz", "video/mp4"
BINARY = {"schema": {"type": "string", "format": "binary"}}


def add_service_endpoints(app: FastAPI, context: Context) -> None:
    """`/v1/models`, `/v1/samples`, `/v1/health`."""
    backend, settings, admitted = context.backend, context.settings, [Depends(context.admit)]

    @app.get(
        "/v1/models",
        tags=["service"],
        summary="What answers",
        dependencies=admitted,
        responses={200: {"model": Models, "content": {"application/json": {"example": {"models": [MODEL_EXAMPLE]}}}}, **problem_responses(*AWAY)},
    )
    async def models() -> JSONResponse:
        """The models of the service: system, heads, checksum, scores of training."""
        return JSONResponse({"models": [dict(await in_time(backend.describe, settings.timeout_s))]})

    @app.get(
        "/v1/samples",
        tags=["service"],
        summary="Clips to try it on",
        dependencies=admitted,
        responses={200: {"model": Samples, "content": {"application/json": {"example": {"samples": [SAMPLE_EXAMPLE]}}}}, **problem_responses(*AWAY)},
    )
    async def samples() -> JSONResponse:
        """The clips that travel with the model, where the licence of its data allows."""
        return JSONResponse({"samples": list(await in_time(backend.samples, settings.timeout_s))})

    @app.get(
        "/v1/samples/{number}",
        tags=["service"],
        summary="One of them",
        dependencies=admitted,
        response_class=Response,
        responses={
            200: {"content": dict.fromkeys((NPZ, MP4), BINARY), "description": "a keypoint file or a video, to send to /v1/recognize"},
            **problem_responses("no-sample", "invalid-parameter", *AWAY),
        },
    )
    async def sample(number: Annotated[int, Path(ge=0, le=9999)]) -> Response:
        """A sample as a keypoint file (`.npz`), or as a video (`.mp4`) where the model looks at pictures."""
        content = await in_time(lambda: backend.sample(number), settings.timeout_s)
        if content is None:
            raise ProblemError("no-sample", f"there is no sample {number}: /v1/samples lists them")
        return Response(content, media_type=MP4 if content[4:8] == b"ftyp" else NPZ)

    @app.get("/v1/health/live", tags=["service"], summary="Whether the service lives", responses={200: {"model": Health}, **problem_responses("internal")})
    async def live() -> JSONResponse:
        """Answers as long as the front of the service runs."""
        return JSONResponse({"status": "live"})

    @app.get(
        "/v1/health/ready", tags=["service"], summary="Whether it can answer", responses={200: {"model": Health}, **problem_responses("not-ready", "stopping")}
    )
    async def ready() -> JSONResponse:
        """Answers 200 when the model is loaded and answers, 503 as soon as the service is ending; never asks for a key."""
        context.gate.require_open()
        await in_time(backend.describe, settings.ready_timeout_s, "not-ready")
        return JSONResponse({"status": "ready"})
