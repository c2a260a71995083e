"""What `/metrics` tells Prometheus: requests by path and status, recognitions, batches, what is in work."""
# No `from __future__ import annotations`: FastAPI must see the types of endpoints that are made inside a function.

import time

from fastapi import FastAPI, Response
from fastapi.params import Depends
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.tasks import Reply

TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Of one front; each has its own registry, so that two of a process don't mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("signray_requests_total", "Requests answered.", ("path", "method", "status"), registry=registry)
        self.seconds = Histogram("signray_request_seconds", "From a request's head to the end of its answer.", ("path",), registry=registry, buckets=SECONDS)
        self.recognitions = Counter(
            "signray_recognitions_total", "Clips and windows that the model answered, by `ok` or the code of their problem.", ("outcome",), registry=registry
        )
        self.network_seconds = Histogram("signray_network_seconds", "Network and search of a batch.", registry=registry, buckets=SECONDS)
        self.batch_size = Histogram("signray_batch_size", "Clips that went through the network together.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64))
        self.in_work = Gauge("signray_in_work", "Requests in work or waiting.", registry=registry)
        self.capacity = Gauge("signray_capacity", "Of them at most; the next one is answered 503.", registry=registry)
        self.live_sessions = Gauge("signray_live_sessions", "Open live sessions.", registry=registry)
        self.jobs = Gauge("signray_jobs", "Jobs that wait or run.", registry=registry)

    def replied(self, reply: Reply) -> None:
        """Count a reply of the model."""
        self.recognitions.labels(reply.code or "ok").inc()
        if reply.record is not None:
            self.network_seconds.observe(reply.network_ms / 1e3)
            self.batch_size.observe(reply.batch_size)


class Measured:
    """ASGI middleware: counts answers by the path as the API names it, never as a caller wrote it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 499  # the caller left before an answer began

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.requests.labels(path, scope["method"], str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - begun)


def add_metrics(app: FastAPI, metrics: Metrics, admitted: list[Depends]) -> None:
    """`/metrics`; where keys are asked for, it asks for one."""

    @app.get(
        "/metrics",
        tags=["service"],
        summary="Figures for Prometheus",
        dependencies=admitted,
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text format"}},
    )
    async def figures() -> Response:
        """Requests, recognitions, batches, what is in work."""
        return Response(generate_latest(metrics.registry), headers={"Content-Type": TEXT_FORMAT})
