"""What each switch of the service gains: replicas, waiting batches, access logs, how keypoints are sent, Serve's own switch for throughput."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from unittest import mock

from cluster.ray_cluster import connect
from serve.run import FAST
from tests.benchmarks.figure import Figure
from tests.benchmarks.http_load import Answers, Caller, load
from tests.benchmarks.report import told
from tests.benchmarks.serving import npz_body, points_of, random_bundle, serving
from tests.benchmarks.stack import SMALLEST, Bench

CLIENTS, REQUESTS = 16, 96
KEPT_MS = "p50 of one client"


def measure(bench: Bench) -> list[Figure]:
    """The demo's network with random weights, 64 frames of 133 points."""
    if bench.quick:
        return _quick(bench)
    bundle = str(random_bundle(bench.folder / "demo", "demo").folder)
    with _ray("1"), serving() as deploy:
        usual = deploy("usual", bundle=bundle)
        others = {
            "replicas: 2": deploy("replicas", bundle=bundle, replicas=2),
            "batch_wait_s: 0.02": deploy("waits", bundle=bundle, batch_wait_s=0.02),
            "access log on": deploy("logged", logging={"enable_access_log": True, "log_level": "INFO"}, bundle=bundle),
        }
        figures = [told(figure) for figure in (*_throughputs(usual, others, rounds=7), *_bodies(usual, rounds=7, count=20))]
    pairs = [tuple(_alone(bundle, optimized) for optimized in order) for order in (("1", "0"), ("0", "1"), ("1", "0"))]
    return [*figures, *(told(figure) for figure in _switched(pairs[0], pairs[1][::-1], pairs[2]))]


@contextmanager
def _ray(optimized: str) -> Iterator[None]:
    """A private Ray, whose Serve reads its own switch once, when it starts."""
    with mock.patch.dict(os.environ, {FAST[0]: optimized}), connect(num_cpus=8, driver_logs=False):
        yield


def _quick(bench: Bench) -> list[Figure]:
    from tests.unit.serve.in_process import local_api
    from tests.unit.serve.in_thread import listening

    with listening(local_api(random_bundle(bench.folder / "tiny", "demo", 0, SMALLEST[:-2]).folder)) as url:
        return _bodies(url, rounds=1, count=2)


def _rate(url: str) -> float:
    began = time.perf_counter()
    answers = load(url, [npz_body(64, seed) for seed in range(4)], clients=CLIENTS, requests=REQUESTS)
    assert answers.others_than(200) == 0, answers.codes
    return REQUESTS / (time.perf_counter() - began)


def _throughputs(usual: str, others: Mapping[str, str], *, rounds: int) -> list[Figure]:
    """Clips per second of 16 clients over those of the defaults."""
    rates: dict[str, list[float]] = {url: [] for url in (usual, *others.values())}
    for url in rates:
        load(url, [npz_body(64)], clients=CLIENTS, requests=CLIENTS)
    for _ in range(rounds):
        for url, found in rates.items():
            found.append(_rate(url))
    return [
        Figure(
            name=f"{name} / the defaults, throughput of {CLIENTS} clients",
            rounds=tuple(other / own for other, own in zip(rates[url], rates[usual], strict=True)),
            note=f"{rates[url][-1]:.0f} over {rates[usual][-1]:.0f} clips/s",
        )
        for name, url in others.items()
    ]


def _bodies(url: str, *, rounds: int, count: int) -> list[Figure]:
    """How a clip is sent, against float32 npz over a connection that is kept."""
    points = points_of(64)
    document = {"keypoints": points["keypoints"].round(2).tolist(), "frame_size": points["frame_size"].tolist(), "fps": 25}
    ways: dict[str, Callable[[Caller, Answers], int]] = {
        "float32 npz": lambda caller, answers: caller.ask(npz_body(64), answers),
        "float16 npz": lambda caller, answers: caller.ask(npz_body(64, dtype="float16"), answers),
        "JSON": lambda caller, answers: caller.ask(json.dumps(document).encode(), answers, kind="application/json"),
        "a new connection for each": lambda caller, answers: _anew(url, answers),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with Caller(url) as caller:
        for _ in range(rounds):
            for name, ask in ways.items():
                answers = Answers()
                for _ in range(count):
                    ask(caller, answers)
                assert answers.others_than(200) == 0, answers.codes
                times[name].append(answers.percentile_ms(50))
    (usual, own), *others = times.items()
    return [
        Figure(
            name=f"{name} / {usual}, {KEPT_MS}",
            rounds=tuple(other / base for other, base in zip(found, own, strict=True)),
            note=f"{found[-1]:.1f} over {own[-1]:.1f} ms",
        )
        for name, found in others
    ]


def _anew(url: str, answers: Answers) -> int:
    with Caller(url) as caller:
        return caller.ask(npz_body(64), answers)


def _alone(bundle: str, optimized: str) -> tuple[float, float]:
    """`_summary` of the defaults, on a Ray that serves nothing else."""
    with _ray(optimized), serving() as deploy:
        return _summary(deploy("usual", bundle=bundle))


def _summary(url: str) -> tuple[float, float]:
    """Clips per second of 16 clients, and the p50 of one."""
    load(url, [npz_body(64)], clients=CLIENTS, requests=2 * CLIENTS)
    return _rate(url), load(url, [npz_body(64)], clients=1, requests=60).percentile_ms(50)


def _switched(*pairs: tuple[tuple[float, float], ...]) -> list[Figure]:
    """Of (with, without) pairs."""
    name, (fast, slow) = f"{FAST[0]} / without", pairs[-1]
    ends = (f"{fast[0]:.0f} over {slow[0]:.0f} clips/s", f"{fast[1]:.1f} over {slow[1]:.1f} ms")
    return [
        Figure(
            name=f"{name}, {what}",
            rounds=tuple(one[index] / other[index] for one, other in pairs),
            note=f"{ends[index]}; a Ray for each, as it is read at a Ray's start",
        )
        for index, what in enumerate((f"throughput of {CLIENTS} clients", KEPT_MS))
    ]
