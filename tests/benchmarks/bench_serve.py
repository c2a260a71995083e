"""The service under load: cost over the bundle in process, batching, a replica that dies, a champion that changes, more than it can take, memory."""

from __future__ import annotations

import io
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cluster.memory import process_tree_pss
from cluster.ray_cluster import connect, free_port
from cluster.registry import set_alias
from cluster.sender import embedded_uri
from cluster.tracking import MlflowTracker
from models.bundle import Bundle, CorpusCard, DecodingOptions, save_bundle
from models.inputs.clip import Clip
from models.systems import SYSTEMS
from models.vocabulary import SPECIALS, Vocabulary
from serve.bodies import Facts, open_body, read_clip
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.benchmarks.figure import Figure
from tests.benchmarks.http_load import Answers, Caller, load
from tests.benchmarks.report import number
from tests.benchmarks.stack import SMALLEST, Bench
from workloads.recipe import load_recipe

VOCABULARY = Vocabulary(entries=(*SPECIALS, *(f"GLOSS{number}" for number in range(24))))
NO_FACTS = Facts(name=None, frame_size=None, fps=None)
CAPACITY = 16
RECOVERY_S, REFUSAL_S = 10.0, 1.0


def measure(bench: Bench) -> list[Figure]:
    """Networks have random weights: the demo's for the cost and for batching, a tiny one where what is measured is the service."""
    if bench.quick:
        return _quick(bench)
    demo, tiny = _bundle(bench.folder / "demo", "demo"), [_bundle(bench.folder / f"tiny{seed}", "demo", seed, SMALLEST[:-2]) for seed in range(2)]
    store = _registry(bench.folder, tiny)
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
    with connect(num_cpus=8, driver_logs=False) as cluster, _serving() as serve:
        alone = serve("alone", bundle=str(demo.folder), max_batch_size=1)
        together = serve("together", bundle=str(demo.folder), max_batch_size=8)
        steady = serve("steady", bundle="models:/tiny@champion", store=store, follow_s=1.0, replicas=2, capacity=CAPACITY)
        parts = (
            lambda: [_overhead(together, demo, rounds=5, count=40)],
            lambda: _batching(alone, together, rounds=3, count=160),
            lambda: [_kill(steady, count=2000)],
            lambda: [_swap(steady, store, count=2000)],
            lambda: _overload(steady, count=4000),
            lambda: [_memory(steady, cluster.address, rounds=3, count=1000)],
        )
        return [_told(figure) for part in parts for figure in part()]


def _told(figure: Figure) -> Figure:
    """The figure, which is printed at once: all of them take minutes."""
    print(f"  {figure.name}: {number(figure.median)} {figure.unit} ({figure.note})", file=sys.stderr, flush=True)
    return figure


def _quick(bench: Bench) -> list[Figure]:
    from tests.unit.serve.in_process import local_api
    from tests.unit.serve.in_thread import listening

    bundle = _bundle(bench.folder / "tiny", "demo", 0, SMALLEST[:-2])
    with listening(local_api(bundle.folder, capacity=2)) as url:
        return [_overhead(url, bundle, rounds=1, count=3), *_overload(url, count=12)]


def _bundle(folder: Path, recipe_name: str, seed: int = 0, overrides: Sequence[str] = ()) -> Bundle:
    recipe = load_recipe(recipe_name, list(overrides))
    torch.manual_seed(seed)
    network = SYSTEMS[recipe.system].build(recipe.network, len(VOCABULARY))
    return save_bundle(
        folder,
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        state_dict=network.state_dict(),
        classes=VOCABULARY,
        decoding=DecodingOptions(),
        corpus=CorpusCard(name="synthetic"),
        metrics={},
        provenance={},
    )


def _registry(folder: Path, bundles: Sequence[Bundle]) -> Path:
    store = folder / "store"
    for bundle in bundles:
        tracker = MlflowTracker(folder / f"run_{bundle.folder.name}", experiment="serve", store=store)
        tracker.register(bundle.folder, name="tiny")
        tracker.close()
    set_alias("tiny", "champion", "1", tracking_uri=embedded_uri(store))
    return store


@contextmanager
def _serving() -> Iterator[Any]:
    """A function that deploys the service under a name and returns its URL."""
    from ray import serve

    from serve.app import build
    from serve.run import QUIET

    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config=QUIET)

    def deploy(name: str, **settings: Any) -> str:
        application = build(ServeSettings(device="cpu", cpus_per_replica=0.5, timeout_s=600, **settings))  # a slow machine is no failure
        serve.run(application, name=name, route_prefix=f"/{name}", logging_config=QUIET)
        return f"http://127.0.0.1:{port}/{name}"

    yield deploy


def _body(num_frames: int, seed: int = 0) -> bytes:
    """A clip of 133 points as float32 `.npz`."""
    places = np.random.default_rng(seed).uniform(0, 200, (num_frames, 133, 3)).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, keypoints=places, frame_size=np.array([210, 260]), fps=np.float32(25))
    return file.getvalue()


def _overhead(url: str, bundle: Bundle, *, rounds: int, count: int) -> Figure:
    """One client: p50 over HTTP less p50 of reading and recognising the same bytes in this process, in turns."""
    settings, body = ServeSettings(bundle=str(bundle.folder), device="cpu"), _body(64)
    worker = ModelWorker(settings)
    load(url, [body], clients=1, requests=3)
    differences, inside_ms = [], 0.0
    with Caller(url) as caller:
        for _ in range(rounds):
            answers, inside = Answers(), []
            for _ in range(count):
                caller.ask(body, answers)
                began = time.perf_counter()
                worker.answer([Task(clip=_clip(body, settings), choice=Choice())])
                inside.append(time.perf_counter() - began)
            inside_ms = 1e3 * statistics.median(inside)
            differences.append(answers.median_ms() - inside_ms)
    note = f"one client, 64 frames as fp32 npz, no batching wait; in process {inside_ms:.1f} ms"
    return Figure(name="HTTP and Serve over the bundle in process, p50", rounds=tuple(differences), note=note, unit="ms", at_most=20.0)


def _clip(body: bytes, settings: ServeSettings) -> Clip:
    return read_clip(open_body("application/x-npz", body, NO_FACTS, settings), NO_FACTS, settings)


def _batching(alone: str, together: str, *, rounds: int, count: int) -> list[Figure]:
    """Throughput of 16 clients with batches of up to eight over that without; and, as its reason, the same of the network alone in this process."""
    bodies, ratios, rate = [_body(64, seed) for seed in range(4)], [], 0.0
    for url in (alone, together):
        load(url, bodies, clients=16, requests=16)
    for _ in range(rounds):
        seconds = []
        for url in (alone, together):
            began = time.perf_counter()
            answers = load(url, bodies, clients=16, requests=count)
            assert answers.others_than(200) == 0, answers.codes
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[0] / seconds[1])
        rate = count / seconds[1]
    name = "batches of up to 8 / one by one, throughput of 16 clients"
    return [Figure(name=name, rounds=tuple(ratios), note=f"{rate:.0f} clips/s with batches; demo network, one replica of one thread", at_least=2.0)]


def _kill(url: str, *, count: int) -> Figure:
    """Requests that failed of so many, while one of two replicas is killed after a third of them."""

    def kill(answers: Answers) -> None:
        _wait(answers, count // 3)
        os.kill(_replica_pids("steady", "Model")[0], signal.SIGKILL)

    answers = load(url, [_body(24)], clients=8, requests=count, meanwhile=kill)
    slowest = max(answers.seconds[200])
    return _failed("requests that failed while a replica was killed", answers, f"slowest answer {slowest:.1f} s; its requests are asked again of the other")


def _swap(url: str, store: Path, *, count: int) -> Figure:
    """Requests that failed of so many, while the alias moves after a third of them."""

    def swap(answers: Answers) -> None:
        _wait(answers, count // 3)
        set_alias("tiny", "champion", "2", tracking_uri=embedded_uri(store))

    answers = load(url, [_body(24)], clients=8, requests=count, meanwhile=swap)
    versions = ", ".join(f"{times} by version {version}" for version, times in sorted(answers.versions.items()))
    return _failed("requests that failed while the champion was swapped", answers, f"{versions}; slowest answer {max(answers.seconds[200]):.1f} s")


def _overload(url: str, *, count: int) -> list[Figure]:
    """Three times as many clients as the service has room for: what they are answered, how soon they are refused, how soon it is as before."""
    body, after = _body(24), Answers()
    before = load(url, [body], clients=1, requests=10)
    answers = load(url, [body], clients=3 * CAPACITY, requests=count)
    began = time.perf_counter()
    with Caller(url) as caller:
        while caller.ask(body, after) != 200 or after.seconds[200][-1] > max(0.05, 2 * max(before.seconds[200])):
            assert time.perf_counter() - began < 60, after.statuses
    recovered = time.perf_counter() - began
    refusals = sorted(answers.seconds.get(503, [0.0]))
    note = ", ".join(f"{times} × {status}" for status, times in sorted(answers.statuses.items()))
    return [
        Figure(name="3× overload: answers other than 200 or 503", rounds=(answers.others_than(200, 503),), note=note, unit=f"of {answers.count}", at_most=0),
        Figure(name="3× overload: slowest of 99 % of the refusals", rounds=(refusals[int(0.99 * (len(refusals) - 1))],), note="", unit="s", at_most=REFUSAL_S),
        Figure(name="after the overload: until an answer takes as long as before", rounds=(recovered,), note="", unit="s", at_most=RECOVERY_S),
    ]


def _memory(url: str, address: str, *, rounds: int, count: int) -> Figure:
    """PSS of all of Ray after each of some thousand requests over that before; overload has gone before."""
    before, ratios, body = process_tree_pss(also=f"RAY_ADDRESS={address}"), [], _body(24)
    for _ in range(rounds):
        load(url, [body], clients=8, requests=count)
        ratios.append(process_tree_pss(also=f"RAY_ADDRESS={address}") / before)
    note = f"{before / 1e6:.0f} MB of driver and all of Ray, after {rounds} × {count} requests more"
    return Figure(name="memory after / before", rounds=tuple(ratios), note=note, at_most=1.05)


def _failed(name: str, answers: Answers, note: str) -> Figure:
    problems = "".join(f"; {times} × {code}" for code, times in answers.codes.items())
    return Figure(name=name, rounds=(answers.others_than(200),), note=note + problems, unit=f"of {answers.count}", at_most=0)


def _wait(answers: Answers, count: int) -> None:
    while answers.count < count:
        time.sleep(0.01)


def _replica_pids(application: str, deployment: str) -> list[int]:
    from ray.serve.context import _get_global_client  # what the dashboard's REST API shows, and this cluster has no dashboard

    details = _get_global_client().get_serve_details()["applications"][application]["deployments"][deployment]
    return [replica["pid"] for replica in details["replicas"] if replica["state"] == "RUNNING"]
