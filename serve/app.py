"""The service on Ray Serve: a front that reads requests and bounds their number, and the model behind it, which batches and scales by itself.

serve run serve.app:build bundle=runs/demo/bundle        on the cluster of RAY_ADDRESS
serve deploy serve/config.yaml                           the same, as a configuration
"""
# No `from __future__ import annotations`: Serve reads the type of the builder's argument.

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from cluster.registry import local_folder
from serve.api import build_api
from serve.batching import Batcher
from serve.problems import ProblemError
from serve.ray_metrics import RayExport
from serve.settings import ServeSettings
from serve.tasks import Prepared, Reply, Task, Upload

APPLICATION = "signray"
FRONT = "Front"
ATTEMPTS = 3  # of a recognition whose replica dies meanwhile
# How requests in work end before a replica does. Serve stops all deployments at once: `run.py` drains the front before.
DRAIN = {"graceful_shutdown_wait_loop_s": 0.5, "graceful_shutdown_timeout_s": 20.0}
logger = logging.getLogger("ray.serve")
SPARE = 16  # places for questions about health and models beside the recognitions


class ServedModel:
    """The deployment of the model."""

    def __init__(self, settings: ServeSettings, members: Sequence[DeploymentHandle] = ()) -> None:
        from serve.worker import ModelWorker  # here: the front needs no torch

        self._timeout_s = settings.member_timeout_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker = ModelWorker(settings, [partial(self._forward, member) for member in members])
        if "@" in settings.bundle:
            threading.Thread(target=self._follow, args=(settings.follow_s,), daemon=True).start()
        self._batcher = Batcher(self._worker.answer, max_size=settings.max_batch_size, wait_s=settings.batch_wait_s)

    def _forward(self, member: DeploymentHandle, *arguments: Any) -> Any:
        """A member's heads, asked for from a thread of the worker: handles belong to the event loop."""

        async def ask() -> Any:
            return await member.forward.remote(*arguments)

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(ask(), self._timeout_s), self._loop).result()

    def _follow(self, pause_s: float) -> None:
        while True:
            time.sleep(pause_s)
            try:
                if self._worker.follow():
                    logger.warning("the alias has moved: version %s answers now", self._worker.card["version"])
            except Exception as error:  # whatever: a registry that is away or a bundle that is broken must not end a service that answers
                logger.warning("the model stays as it is: %s", error)

    async def recognise(self, task: Task) -> Reply:
        self._loop = asyncio.get_running_loop()
        return await self._batcher.ask(task)

    async def describe(self) -> Mapping[str, Any]:
        return self._worker.card

    async def samples(self) -> Sequence[Mapping[str, Any]]:
        return await asyncio.to_thread(self._worker.samples)

    async def sample(self, number: int) -> bytes | None:
        return await asyncio.to_thread(self._worker.sample, number)


class ServedMember:
    """The deployment of a member's network."""

    def __init__(self, settings: ServeSettings) -> None:
        from serve.members import MemberHost

        self._host = MemberHost(settings)

    async def forward(self, uri: str, key: str, batch: Any) -> Any:
        return await asyncio.to_thread(self._host.forward, uri, key, batch)


class Preparation:
    """The deployment that makes clips of videos."""

    def __init__(self, settings: ServeSettings) -> None:
        from serve.decoder import VideoDecoder

        self._decoder = VideoDecoder(settings)

    async def prepare(self, upload: Upload) -> Prepared:
        return await self._decoder.prepare(upload)


class Remote:
    """The model behind its handle, as the API's backend."""

    def __init__(self, model: DeploymentHandle, preparation: DeploymentHandle | None) -> None:
        self._model, self._preparation = model, preparation

    async def prepare(self, upload: Upload) -> Prepared:
        assert self._preparation is not None  # `takes` of the card has no video without it
        prepared: Prepared = await self._ask_of(self._preparation, "prepare", upload)
        return prepared

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
        return await self._ask_of(self._model, method, *arguments)

    async def _ask_of(self, deployment: DeploymentHandle, method: str, *arguments: Any) -> Any:
        for _ in range(ATTEMPTS):
            try:
                return await getattr(deployment, method).remote(*arguments)
            except RayActorError:  # its replica died; to recognise a clip twice does no harm
                continue
            except BackPressureError:
                raise ProblemError("overloaded", "the queue is full; try again") from None
            except DeploymentUnavailableError:
                break
        raise ProblemError("not-ready", "no replica answers; try again") from None


class Front:
    """The deployment of the HTTP API."""

    def __init__(self, settings: ServeSettings, model: DeploymentHandle, preparation: DeploymentHandle | None) -> None:
        self._settings, self._backend = settings, Remote(model, preparation)

    def __serve_build_asgi_app__(self) -> FastAPI:
        self._api = build_api(self._backend, self._settings)
        export = RayExport(self._api.state.context.metrics.registry)
        threading.Thread(target=export.follow, args=(threading.Event(),), name="ray metrics", daemon=True).start()  # ends with the process
        return self._api

    async def drain(self, seconds: float) -> int:
        """Take no more requests, and let those in work come to their end; how many were left after so long."""
        left: int = await self._api.state.gate.drain(seconds)
        return left


def num_networks(args: ServeSettings) -> int:
    """Networks of the ensemble that is served, 0 of the bundle of one."""
    from models.bundle_record import EnsembleRecord, read_record  # here: they load torch, and this module is loaded by every replica

    record = read_record(local_folder(args.bundle, tracking_uri=args.tracking_uri, store=args.store))
    return len({entry.folder for entry in record.members.values()}) if isinstance(record, EnsembleRecord) else 0


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
    members = [
        serve.deployment(ServedMember, name=f"Member-{number}", max_ongoing_requests=args.capacity, ray_actor_options=resources, **DRAIN).bind(args)
        for number in range(num_networks(args) if args.split_members else 0)
    ]
    front = serve.deployment(
        serve.ingress()(Front),
        name=FRONT,
        max_ongoing_requests=10 * args.capacity + SPARE,
        ray_actor_options={"num_cpus": 0.1},
        **DRAIN,
    )
    preparation = serve.deployment(Preparation, name="Preparation", max_ongoing_requests=args.capacity + SPARE, ray_actor_options={"num_cpus": 0.5}, **DRAIN)
    application: Application = front.bind(args, model.bind(args, members), preparation.bind(args) if args.video else None)
    return application
