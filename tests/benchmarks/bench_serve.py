"""The service under load: cost over the bundle in process, batching, Locust, a replica that dies, a champion that changes, more than it can take, memory."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cluster.memory import process_tree_pss
from cluster.ray_cluster import connect
from cluster.registry import set_alias
from cluster.sender import embedded_uri
from models.bundle import Bundle
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.benchmarks.figure import Figure
from tests.benchmarks.http_load import Answers, Caller, arrivals, load
from tests.benchmarks.report import told
from tests.benchmarks.serving import clip_of, npz_body, random_bundle, registry_of, replica_pids, serving
from tests.benchmarks.stack import SMALLEST, Bench

CAPACITY = 16
RECOVERY_S, REFUSAL_S = 10.0, 1.0
BATCH = 8
LOCUST_S = 15


def measure(bench: Bench) -> list[Figure]:
    """Networks have random weights: the demo's for the cost, batching and overload, a tiny one where what is measured is the service."""
    if bench.quick:
        return _quick(bench)
    demo = random_bundle(bench.folder / "demo", "demo")
    tiny = [random_bundle(bench.folder / f"tiny{seed}", "demo", seed, SMALLEST[:-2]) for seed in range(2)]
    store = registry_of(bench.folder, tiny)
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")
    with connect(num_cpus=8, driver_logs=False) as cluster, serving() as deploy:
        alone = deploy("alone", bundle=str(demo.folder), max_batch_size=1)
        together = deploy("together", bundle=str(demo.folder), max_batch_size=BATCH, capacity=CAPACITY)
        steady = deploy("steady", bundle="models:/tiny@champion", store=store, follow_s=1.0, replicas=2, capacity=CAPACITY)
        parts = (
            lambda: [_overhead(together, demo, rounds=5, count=40)],
            lambda: [_network_batching(demo, rounds=5), _batching(alone, together, rounds=3, count=160)],
            lambda: [_locust(together)],
            lambda: [_kill(steady, count=2000)],
            lambda: [_swap(steady, store, count=2000)],
            lambda: _overload(together, seconds=15),
            lambda: [_memory(steady, cluster.address, rounds=2, count=700)],
        )
        return [told(figure) for part in parts for figure in part()]


def _quick(bench: Bench) -> list[Figure]:
    from tests.unit.serve.in_process import local_api
    from tests.unit.serve.in_thread import listening

    bundle = random_bundle(bench.folder / "tiny", "demo", 0, SMALLEST[:-2])
    with listening(local_api(bundle.folder, capacity=2)) as url:
        return [_overhead(url, bundle, rounds=1, count=3), *_overload(url, seconds=0.3)]


def _overhead(url: str, bundle: Bundle, *, rounds: int, count: int) -> Figure:
    """One client: p50 over HTTP less p50 of reading and recognising the same bytes in this process, in turns."""
    settings, body = ServeSettings(bundle=str(bundle.folder), device="cpu"), npz_body(64)
    worker = ModelWorker(settings)
    load(url, [body], clients=1, requests=3)
    differences, inside_ms, parts = [], 0.0, ""
    with Caller(url) as caller:
        for _ in range(rounds):
            answers, inside = Answers(), []
            for _ in range(count):
                caller.ask(body, answers)
                began = time.perf_counter()
                worker.answer([Task(clip=clip_of(body, settings), choice=Choice())])
                inside.append(time.perf_counter() - began)
            inside_ms = 1e3 * statistics.median(inside)
            differences.append(answers.percentile_ms(50) - inside_ms)
            parts = _parts(answers)
    note = f"one client, 64 frames as fp32 npz, no batching wait; in process {inside_ms:.1f} ms; in the service {parts}"
    return Figure(name="HTTP and Serve over the bundle in process, p50", rounds=tuple(differences), note=note, unit="ms", at_most=20.0)


def _parts(answers: Answers) -> str:
    """Where the time of the answers went, by their own timings: medians."""
    told = {name: statistics.median(timings[name] for timings in answers.timings) for name in answers.timings[0]}
    parts = {
        "network and search": told["network_ms"],
        "to the model and back": told["recognise_ms"] - told["network_ms"],
        "reading": told["read_ms"],
        "HTTP": answers.percentile_ms(50) - told["total_ms"],
    }
    return ", ".join(f"{name} {milliseconds:.1f}" for name, milliseconds in parts.items())


def _network_batching(bundle: Bundle, *, rounds: int) -> Figure:
    """What batching can gain at most: CPU time of a clip alone over that of one in a batch, in this process without a service."""
    settings = ServeSettings(bundle=str(bundle.folder), device="cpu")
    worker = ModelWorker(settings)
    tasks = [Task(clip=clip_of(npz_body(64, seed), settings), choice=Choice()) for seed in range(BATCH)]
    ratios, each = [], {1: 0.0, BATCH: 0.0}
    for _ in range(rounds):
        for size in each:
            began = time.process_time()
            for start in range(0, BATCH, size):
                worker.answer(tasks[start : start + size])
            each[size] = 1e3 * (time.process_time() - began) / BATCH
        ratios.append(each[1] / each[BATCH])
    note = f"one thread; {each[1]:.1f} over {each[BATCH]:.1f} ms of CPU a clip in the last round"
    return Figure(name=f"one by one / batches of {BATCH}, the network alone in process", rounds=tuple(ratios), note=note)


def _batching(alone: str, together: str, *, rounds: int, count: int) -> Figure:
    """Throughput of 16 clients with batches of up to eight over that without."""
    bodies, ratios, rates = [npz_body(64, seed) for seed in range(4)], [], (0.0, 0.0)
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
        rates = count / seconds[1], count / seconds[0]
    name = f"batches of up to {BATCH} / one by one, throughput of 16 clients"
    note = f"{rates[0]:.0f} over {rates[1]:.0f} clips/s; demo network, one replica of one thread; the row above says what the network gains"
    return Figure(name=name, rounds=tuple(ratios), note=note, at_least=2.0)


def _locust(url: str) -> Figure:
    """Requests that failed of those of Locust's 16 users."""
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py")), "--host", url, "--headless", "--only-summary"]
    command += ["-u", "16", "-r", "16", "-t", f"{LOCUST_S}s", "--json", "--skip-log", "--exit-code-on-error", "0"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[0]
    times = sorted((float(milliseconds), count) for milliseconds, count in found["response_times"].items())
    percentiles = ", ".join(f"p{share} {_percentile(times, share):.0f} ms" for share in (50, 95, 99))
    note = f"{found['num_requests'] / LOCUST_S:.0f} clips/s, {percentiles}; 64 frames as fp32 npz, demo network, one replica"
    return Figure(name="Locust, 16 users: requests that failed", rounds=(found["num_failures"],), note=note, unit=f"of {found['num_requests']}", at_most=0)


def _percentile(times: list[tuple[float, int]], share: float) -> float:
    left = share / 100 * sum(count for _, count in times)
    for milliseconds, count in times:
        left -= count
        if left <= 0:
            return milliseconds
    return times[-1][0]


def _kill(url: str, *, count: int) -> Figure:
    """Requests that failed of so many, while one of two replicas is killed after a third of them."""

    def kill(answers: Answers) -> None:
        _wait(answers, count // 3)
        os.kill(replica_pids("steady", "Model")[0], signal.SIGKILL)

    answers = load(url, [npz_body(24)], clients=8, requests=count, meanwhile=kill)
    slowest = max(answers.seconds[200])
    return _failed("requests that failed while a replica was killed", answers, f"slowest answer {slowest:.1f} s; its requests are asked again of the other")


def _swap(url: str, store: Path, *, count: int) -> Figure:
    """Requests that failed of so many, while the alias moves after a third of them."""

    def swap(answers: Answers) -> None:
        _wait(answers, count // 3)
        set_alias("tiny", "champion", "2", tracking_uri=embedded_uri(store))

    answers = load(url, [npz_body(24)], clients=8, requests=count, meanwhile=swap)
    versions = ", ".join(f"{times} by version {version}" for version, times in sorted(answers.versions.items()))
    return _failed("requests that failed while the champion was swapped", answers, f"{versions}; slowest answer {max(answers.seconds[200]):.1f} s")


def _overload(url: str, *, seconds: float) -> list[Figure]:
    """Three times as many requests as it can answer, at a fixed pace whatever it answers: what they are told, how soon, how soon it is as before."""
    body, after = npz_body(64), Answers()
    began = time.perf_counter()
    before = load(url, [body], clients=CAPACITY, requests=4 * CAPACITY)
    rate = before.statuses[200] / (time.perf_counter() - began)
    alone = load(url, [body], clients=1, requests=10)
    answers = arrivals(url, [body], per_second=3 * rate, seconds=seconds)
    began = time.perf_counter()
    with Caller(url) as caller:
        while caller.ask(body, after) != 200 or after.seconds[200][-1] > max(0.05, 2 * max(alone.seconds[200])):
            assert time.perf_counter() - began < 60, after.statuses
    recovered = time.perf_counter() - began
    note = ", ".join(f"{times} × {status}" for status, times in sorted(answers.statuses.items()))
    paced = f"{3 * rate:.0f} requests/s for {seconds:g} s, whatever comes back"
    refused_s = answers.percentile_ms(99, 503) / 1e3 if answers.statuses[503] else 0.0
    return [
        Figure(
            name="3× overload: answers other than 200 or 503",
            rounds=(answers.others_than(200, 503),),
            note=f"{paced}: {note}",
            unit=f"of {answers.count}",
            at_most=0,
        ),
        Figure(
            name="3× overload: p99 of the refusals",
            rounds=(refused_s,),
            note="from when a request was due, its wait in the client with it",
            unit="s",
            at_most=REFUSAL_S,
        ),
        Figure(name="after the overload: until an answer takes as long as before", rounds=(recovered,), note="", unit="s", at_most=RECOVERY_S),
    ]


def _memory(url: str, address: str, *, rounds: int, count: int) -> Figure:
    """PSS of all of Ray after each of some thousand requests over that before; overload has gone before."""
    before, ratios, body = process_tree_pss(also=f"RAY_ADDRESS={address}"), [], npz_body(24)
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
