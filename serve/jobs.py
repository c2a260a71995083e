"""`/v1/jobs`: long clips, whose progress is polled or streamed."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from serve.context import Context
from serve.job_store import Job, JobStore
from serve.problems import problem_responses
from serve.recognition import READ_ERRORS, Asked, points_record, query_reader, received_clip, request_body
from serve.schemas import JOB_EXAMPLE, JobState

EVENTS = "text/event-stream"
JobId = Annotated[str, Path(min_length=1, max_length=64, description="as POST /v1/jobs told it")]


def add_jobs(app: FastAPI, context: Context) -> None:
    """Submit, ask, watch, give up."""
    store = JobStore(context)
    context.metrics.jobs.set_function(lambda: store.num_open)
    limits = context.settings.for_jobs()
    state = {"model": JobState, "content": {"application/json": {"example": JOB_EXAMPLE}}}
    admitted = [Depends(context.admit)]
    asking = problem_responses("unauthorized", "no-job", "invalid-parameter", "internal")

    @app.post(
        "/v1/jobs",
        status_code=202,
        tags=["jobs"],
        summary="Recognise a long clip",
        dependencies=[Depends(context.admit_work)],
        responses={202: state, **problem_responses(*READ_ERRORS, "rate-limited", "internal", "overloaded", "stopping")},
        openapi_extra={"requestBody": request_body()},
    )
    async def submit(request: Request, asked: Annotated[Asked, Depends(query_reader(context.settings))]) -> JSONResponse:
        """Bodies and options as of `/v1/recognize`, clips of up to `max_job_frames`. Longer ones than the network sees at once are recognised in windows."""
        with store.coming():
            async with AsyncExitStack() as held:
                clip = await received_clip(request, asked.facts, context, limits, held)
        job = store.submit(clip, asked.choice, context.caller(request), {"keypoints": points_record(clip)} if asked.keypoints else {})
        return JSONResponse(job.record(), 202, headers={"Location": f"/v1/jobs/{job.id}"})

    @app.get("/v1/jobs/{job_id}", tags=["jobs"], summary="How far a job is", dependencies=admitted, responses={200: state, **asking})
    async def ask(request: Request, job_id: JobId) -> JSONResponse:
        """Its state; with the answer, or the problem, once it is over."""
        return JSONResponse(store.find(job_id, context.caller(request)).record())

    @app.get(
        "/v1/jobs/{job_id}/events",
        tags=["jobs"],
        summary="Watch a job",
        dependencies=admitted,
        response_class=StreamingResponse,
        responses={
            200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "description": "an event `state` at each change, the last one with the answer"},
            **asking,
        },
    )
    async def watch(request: Request, job_id: JobId) -> StreamingResponse:
        """Server-sent events until the job is over."""
        return StreamingResponse(_events(store.find(job_id, context.caller(request))), media_type=EVENTS)

    @app.delete(
        "/v1/jobs/{job_id}",
        status_code=204,
        tags=["jobs"],
        summary="Give a job up",
        dependencies=admitted,
        responses={204: {"description": "it is forgotten"}, **asking},
    )
    async def give_up(request: Request, job_id: JobId) -> Response:
        """Stops it; what was recognised is lost."""
        store.give_up(store.find(job_id, context.caller(request)))
        return Response(status_code=204)


async def _events(job: Job) -> AsyncIterator[str]:
    while True:
        changed = job.changed
        yield f"event: state\ndata: {json.dumps(job.record(), ensure_ascii=False)}\n\n"
        if job.over:
            return
        await changed.wait()
