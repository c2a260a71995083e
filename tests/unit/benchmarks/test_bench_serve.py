"""The benchmarks of the service run; their figures are not tested. What makes the load is."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.benchmarks import bench_serve_switches
from tests.benchmarks.bench_serve import measure
from tests.benchmarks.http_load import Answers, arrivals, load
from tests.benchmarks.stack import Bench


def test_quick_run(tmp_path: Path) -> None:
    """Without Ray: what a replica's death and a swap cost is left out."""
    figures = {figure.name: figure for figure in measure(Bench(folder=tmp_path, quick=True))}
    assert len(figures) == 4
    assert figures["3× overload: answers other than 200 or 503"].met
    assert len(bench_serve_switches.measure(Bench(folder=tmp_path, quick=True))) == 3


@pytest.fixture
def slow() -> Iterator[str]:
    """A service that answers one request at a time, in 20 ms each; every third of them by 503."""
    count, turn = iter(range(10**6)), threading.Lock()

    class Slow(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with turn:
                time.sleep(0.02)
                refused = next(count) % 3 == 2
            content = json.dumps({"code": "overloaded"} if refused else {"model": {"version": 1}}).encode()
            self.send_response(503 if refused else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_callers_ask_again_or_come_at_their_own_pace(slow: str) -> None:
    answers = load(slow, [b"x"], clients=2, requests=9)
    assert (answers.statuses[200], answers.statuses[503], answers.codes["overloaded"], answers.others_than(200)) == (6, 3, 3, 3)
    assert answers.percentile_ms(100) < 200  # two at a time
    paced = arrivals(slow, [b"x"], per_second=200, seconds=0.15, callers=4)
    assert (paced.count, paced.statuses[200], paced.statuses[503]) == (30, 20, 10)
    assert paced.percentile_ms(100) > 300  # four callers, and the last of them was due long before he could ask
    assert paced.percentile_ms(1) < paced.percentile_ms(50) < paced.percentile_ms(99)


def test_percentiles_are_of_what_was_measured() -> None:
    answers = Answers()
    for milliseconds in range(1, 101):
        answers.add(200, milliseconds / 1e3, b'{"model": {"version": 1}}')
    assert [round(answers.percentile_ms(share)) for share in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
