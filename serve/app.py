"""The service on Ray Serve: a front that reads requests and bounds their number, and the model behind it, which batches and scales by itself.

serve run serve.app:build bundle=runs/demo/bundle        on the cluster of RAY_ADDRESS
serve deploy serve/config.yaml                           the same, as a configuration
"""
# No `from __future__ import annotations`: Serve reads the type of the builder's argument.

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from serve.api import build_api
from serve.problems import ProblemError
from serve.settings import ServeSettings
from serve.tasks import Reply, Task

APPLICATION = "signray"
ATTEMPTS = 3  # of a recognition whose replica dies meanwhile
DRAIN = {"graceful_shutdown_wait_loop_s": 0.5, "graceful_shutdown_timeout_s": 10.0}  # how requests in work end before a replica does
SPARE = 16  # places for questions about health and models beside the recognitions


class ServedModel:
    """The deployment of the model."""

    def __init__(self, settings: ServeSettings) -> None:
        from serve.worker import ModelWorker  # here: the front needs no torch

        self._worker = ModelWorker(settings)
        self._batched.set_max_batch_size(settings.max_batch_size)
        self._batched.set_batch_wait_timeout_s(settings.batch_wait_s)

    @serve.batch  # type: ignore[untyped-decorator]
    async def _batched(self, tasks: list[Task]) -> list[Reply]:
        return await asyncio.to_thread(self._worker.answer, tasks)

    async def recognise(self, task: Task) -> Reply:
        reply: Reply = await self._batched(task)
        return reply

    async def describe(self) -> Mapping[str, Any]:
        return self._worker.card

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        return await asyncio.to_thread(self._worker.samples)

    async def sample(self, number: int) -> bytes | None:
        return await asyncio.to_thread(self._worker.sample, number)


class Remote:
    """The model behind its handle, as the API's backend."""

    def __init__(self, model: DeploymentHandle) -> None:
        self._model = model

    async def recognise(self, task: Task) -> Reply:
        reply: Reply = await self._ask("recognise", task)
        return reply

    async def describe(self) -> Mapping[str, Any]:
        card: Mapping[str, Any] = await self._ask("describe")
        return card

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        cards: Sequence[Mapping[str, Any]] = await self._ask("samples")
        return cards

    async def sample(self, number: int) -> bytes | None:
        content: bytes | None = await self._ask("sample", number)
        return content

    async def _ask(self, method: str, *arguments: Any) -> Any:
        for _ in range(ATTEMPTS):
            try:
                return await getattr(self._model, method).remote(*arguments)
            except RayActorError:  # its replica died; to recognise a clip twice does no harm
                continue
            except BackPressureError:
                raise ProblemError("overloaded", "the model's queue is full; try again") from None
            except DeploymentUnavailableError:
                break
        raise ProblemError("not-ready", "no replica of the model answers; try again") from None


class Front:
    """The deployment of the HTTP API."""

    def __init__(self, settings: ServeSettings, model: DeploymentHandle) -> None:
        self._settings, self._model = settings, model

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_api(Remote(self._model), self._settings)


def build(args: ServeSettings) -> Application:
    """The application, for `serve run`, `serve deploy` and `serve/run.py`."""
    resources = {"num_cpus": args.cpus_per_replica, "num_gpus": args.gpus_per_replica}
    # Serve's own queues are wider than the front's gate, so that it is always the front that turns a request away.
    model = serve.deployment(
        ServedModel,
        name="Model",
        num_replicas=args.replicas,
        max_ongoing_requests=args.capacity + SPARE,
        ray_actor_options=resources,
        health_check_period_s=5,
        **DRAIN,
    )
    front = serve.deployment(
        serve.ingress()(Front),
        name="Front",
        max_ongoing_requests=10 * args.capacity + SPARE,
        ray_actor_options={"num_cpus": 0.1},
        **DRAIN,
    )
    application: Application = front.bind(args, model.bind(args))
    return application
