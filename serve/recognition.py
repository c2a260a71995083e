"""`POST /v1/recognize` and `/v1/translate`: the body becomes a clip, the clip a task of the model, its reply the answer."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

import asyncio
import base64
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import JSONResponse

from models.inputs.clip import Clip
from serve.bodies import BY_NAME, KINDS, Body, Facts, open_body, read_body, read_clip
from serve.context import Context, in_time
from serve.forms import FIELD
from serve.problems import ProblemError, problem_responses
from serve.schemas import KEYPOINTS_EXAMPLE, SENTENCE_EXAMPLE, SIGN_EXAMPLE, TRANSLATION_EXAMPLE, Answer, KeypointDocument
from serve.settings import ServeSettings
from serve.tasks import Choice, Reply, Task, Upload

READ_ERRORS = (
    "bad-request",
    "unauthorized",
    "body-timeout",
    "too-large",
    "unsupported-media-type",
    "unreadable",
    "decode-timeout",
    "unusable-keypoints",
    "invalid-parameter",
)
MODEL_ERRORS = ("rate-limited", "unknown-head", "internal", "overloaded", "stopping", "member-failed", "not-ready", "timeout")
SHORT_BYTES = 1 << 18
_BINARY = {"type": "string", "format": "binary"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the query of a request says. keypoints: the answer is to carry them."""

    facts: Facts
    choice: Choice
    keypoints: bool


def add_recognition(app: FastAPI, context: Context) -> None:
    """The endpoints that answer a clip at once."""
    asked_of = query_reader(context.settings)

    async def answered(request: Request, asked: Asked) -> dict[str, Any]:
        start = time.perf_counter()
        async with context.gate.enter(), AsyncExitStack() as held:
            clip = await received_clip(request, asked.facts, context, context.settings, held)
            read = time.perf_counter()
            reply = await in_time(lambda: context.recognise(Task(clip=clip, choice=asked.choice)), context.settings.timeout_s)
        extra = {"keypoints": points_record(clip)} if asked.keypoints and clip.keypoints.shape[1] else {}
        return {**answer_of(reply, start=start, read=read), **extra}

    @app.post(
        "/v1/recognize",
        tags=["recognition"],
        summary="Recognise the signs of a clip",
        dependencies=[Depends(context.admit_work)],
        responses={
            200: {"model": Answer, "content": {"application/json": {"examples": {"sentence": {"value": SENTENCE_EXAMPLE}, "sign": {"value": SIGN_EXAMPLE}}}}},
            **problem_responses(*READ_ERRORS, *MODEL_ERRORS),
        },
        openapi_extra={"requestBody": request_body()},
    )
    async def recognize(request: Request, asked: Annotated[Asked, Depends(asked_of)]) -> JSONResponse:
        """Keypoints as JSON, `.npz` (arrays keypoints, frame_size, fps; no pickles) or `.pose`, or a video where `/v1/models` says so; as the body itself or
        the field `file` of a form.
        """
        return JSONResponse(await answered(request, asked))

    @app.post(
        "/v1/translate",
        tags=["recognition"],
        summary="Translate the signs of a clip",
        dependencies=[Depends(context.admit_work)],
        responses={
            200: {"model": Answer, "content": {"application/json": {"examples": {"translation": {"value": TRANSLATION_EXAMPLE}}}}},
            **problem_responses(*READ_ERRORS, "no-translation", *MODEL_ERRORS),
        },
        openapi_extra={"requestBody": request_body()},
    )
    async def translate(request: Request, asked: Annotated[Asked, Depends(asked_of)]) -> JSONResponse:
        """As `/v1/recognize`, of a model that translates: `text` and the likeliest `texts` beside the glosses. Others refuse."""
        card = await in_time(context.backend.describe, context.settings.timeout_s)
        if not card["translates"]:
            raise ProblemError("no-translation", "this model tells glosses and no text: /v1/models says what translates; or ask /v1/recognize")
        return JSONResponse(await answered(request, asked))


def query_reader(settings: ServeSettings) -> Callable[..., Asked]:
    """The dependency that reads the query of a recognition."""

    def asked(
        head: Annotated[str | None, Query(max_length=100, description="head that answers (default: the bundle's choice)")] = None,
        beam_width: Annotated[int | None, Query(ge=1, le=settings.max_beam_width, description="width of the beam search (default: the bundle's)")] = None,
        n_best: Annotated[int | None, Query(ge=1, le=settings.max_n_best, description="so many of the likeliest sentences, or signs")] = None,
        members: Annotated[str | None, Query(max_length=1000, description="members of an ensemble that vote, separated by commas (default: all)")] = None,
        heads: Annotated[bool, Query(description="tell also what each head, or member, recognised")] = False,
        cleaned: Annotated[bool, Query(description="tell also the sentence by the corpus's clean-up rules, as it would be scored")] = False,
        keypoints: Annotated[bool, Query(description="tell also the keypoints, for drawing")] = False,
        name: Annotated[str | None, Query(min_length=1, max_length=1000, description="what the answer calls the clip; a label, never a path")] = None,
        frame_size: Annotated[
            str | None, Query(pattern=r"^[1-9]\d{0,5}x[1-9]\d{0,5}$", description="WIDTHxHEIGHT in pixels, instead of what the file says")
        ] = None,
        fps: Annotated[float | None, Query(gt=0, le=1000, description="frames per second, instead of what the file says")] = None,
    ) -> Asked:
        width, _, height = (frame_size or "").partition("x")
        voting = None if members is None else tuple(dict.fromkeys(part.strip() for part in members.split(",")))
        return Asked(
            facts=Facts(name=name, frame_size=(int(width), int(height)) if frame_size else None, fps=fps),
            choice=Choice(head=head, beam_width=beam_width, heads=heads, members=voting, n_best=n_best, cleaned=cleaned),
            keypoints=keypoints,
        )

    return asked


async def received_clip(request: Request, facts: Facts, context: Context, settings: ServeSettings, held: AsyncExitStack) -> Clip:
    """The clip of a request's body, within the limits of `settings`. Raises ProblemError as `read_body`, `open_body`, `read_clip` and `_video_clip`.

    held: keeps the place that decoded pictures take, as long as the caller keeps them.
    """
    body = open_body(request.headers.get("content-type", ""), await read_body(request, settings), facts, settings)
    if body.is_video:
        return await _video_clip(body, facts, context, settings, held)
    if len(body.content) <= SHORT_BYTES:  # it is read in less time than it takes to hand it to a thread
        return read_clip(body, facts, settings)
    return await asyncio.to_thread(read_clip, body, facts, settings)


async def _video_clip(body: Body, facts: Facts, context: Context, settings: ServeSettings, held: AsyncExitStack) -> Clip:
    card = await in_time(context.backend.describe, context.settings.timeout_s)
    if "video" not in card["takes"]:
        raise ProblemError("unsupported-media-type", f"{body.name}: this model reads keypoints, and the service estimates none from pictures")
    if "frames" in card["modalities"]:
        await held.enter_async_context(context.pictures.enter())
    upload = Upload(
        content=body.content,
        name=body.name,
        wanted=tuple(card["modalities"]),
        fps=facts.fps,
        max_frames=settings.max_frames,
        max_seconds=settings.max_seconds,
    )
    prepared = await in_time(lambda: context.backend.prepare(upload), context.settings.timeout_s)
    if prepared.clip is None:
        raise ProblemError(prepared.code, prepared.detail)
    return prepared.clip


def points_record(clip: Clip) -> dict[str, Any]:
    """The keypoints of a clip as `schemas.Points`."""
    return {
        "shape": list(clip.keypoints.shape),
        "frame_size": list(clip.frame_size),
        "data": base64.b64encode(clip.keypoints.astype("<f4").tobytes()).decode("ascii"),
    }


def answer_of(reply: Reply, *, start: float, read: float) -> dict[str, Any]:
    """The answer with its timings. Raises ProblemError where the reply is a problem."""
    if reply.record is None:
        raise ProblemError(reply.code, reply.detail)
    end = time.perf_counter()
    timings = {"read_ms": read - start, "recognise_ms": end - read, "total_ms": end - start}
    milliseconds = {name: round(1e3 * seconds, 3) for name, seconds in timings.items()}
    facts = {"network_ms": round(reply.network_ms, 3), "batch_size": reply.batch_size}
    return {**reply.record, "model": dict(reply.model), "timings": {**milliseconds, **facts}}


def request_body() -> dict[str, Any]:
    """The bodies that a recognition takes, for OpenAPI."""
    form = {
        "type": "object",
        "required": [FIELD],
        "properties": {FIELD: {**_BINARY, "description": "a .npz, .pose or .json file, or a video where the service takes them"}},
    }
    content: dict[str, Any] = {"application/json": {"schema": KeypointDocument.model_json_schema(), "example": KEYPOINTS_EXAMPLE}}
    content |= {media_type: {"schema": _BINARY} for media_type in (*KINDS, *BY_NAME) if media_type != "application/json"}
    content["multipart/form-data"] = {"schema": form}
    return {"required": True, "content": content}
