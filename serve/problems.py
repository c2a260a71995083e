"""Errors over HTTP: RFC 9457 problem documents, each with a code that stays the same across versions."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

CODES: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The request is malformed"),
    "unauthorized": (401, "An API key is needed"),
    "no-sample": (404, "The model has no such sample"),
    "no-job": (404, "There is no such job"),
    "not-found": (404, "There is nothing at this path"),
    "method-not-allowed": (405, "The path doesn't take this method"),
    "body-timeout": (408, "The body took too long to arrive"),
    "too-large": (413, "The request is larger than allowed"),
    "unsupported-media-type": (415, "The kind of the body is not known"),
    "invalid-parameter": (422, "A parameter is wrong"),
    "unknown-head": (422, "The model has no such head"),
    "no-translation": (422, "The model doesn't translate"),
    "not-live": (422, "The model can't answer live"),
    "decode-timeout": (422, "The video takes too long to decode"),
    "unreadable": (422, "The clip can't be read"),
    "unusable-keypoints": (422, "The keypoints can't be recognised"),
    "rate-limited": (429, "Too many requests"),
    "internal": (500, "The service has a fault"),
    "overloaded": (503, "The service is at its capacity"),
    "member-failed": (503, "A member of the ensemble doesn't answer"),
    "stopping": (503, "The service is ending"),
    "not-ready": (503, "The model is not ready"),
    "timeout": (503, "The recognition took too long"),
}
_CODE_OF_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported-media-type"}

logger = logging.getLogger("ray.serve")


@dataclass(eq=False)  # exceptions must be hashable
class ProblemError(Exception):
    """A request that can't be answered. code: a key of CODES; detail: one line for the caller; extra: further members of the document."""

    code: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return CODES[self.code][0]


def problem_document(problem: ProblemError) -> dict[str, Any]:
    """The members of the problem's document."""
    status, title = CODES[problem.code]
    document = {"type": f"urn:signray:problem:{problem.code}", "title": title, "status": status, "code": problem.code, "detail": problem.detail}
    return {**document, **problem.extra}


def problem_response(problem: ProblemError) -> Response:
    """The problem as its document; a 503 says when to come back."""
    headers = {**({"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else {}), **problem.headers}
    return Response(json.dumps(problem_document(problem), ensure_ascii=False), problem.status, headers=headers, media_type=MEDIA_TYPE)


def internal_problem(error: BaseException) -> Response:
    """What a caller sees of a bug: nothing of it; the log has its traceback."""
    logger.error("a request ended in a fault", exc_info=error)
    return problem_response(ProblemError("internal", "the service has a fault; its log says more"))


def add_problem_handlers(app: FastAPI) -> None:
    """Make every error of the application and of its framework a problem document."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint in OpenAPI, with an example for each code."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status, title = CODES[code]
        entry = found.setdefault(status, {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA, "examples": {}}}})
        example = {"type": f"urn:signray:problem:{code}", "title": title, "status": status, "code": code, "detail": "what was wrong, in one line"}
        entry["content"][MEDIA_TYPE]["examples"][code] = {"value": example}
    return found


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "bad-request" if error.status_code < 500 else "internal")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    return problem_response(ProblemError(code, detail, headers=dict(error.headers or {})))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(invalid_parameters(error.errors()))


def invalid_parameters(errors: Sequence[Any]) -> ProblemError:
    """pydantic's findings as a problem: the first in its detail, all in `errors`."""
    found = [{"where": ".".join(map(str, entry["loc"])), "message": entry["msg"]} for entry in errors]
    return ProblemError("invalid-parameter", f"{found[0]['where']}: {found[0]['message']}", extra={"errors": found})


PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(CODES)},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {"type": "object", "properties": {"where": {"type": "string"}, "message": {"type": "string"}}},
        },
    },
}
