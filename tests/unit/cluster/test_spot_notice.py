"""AWS's notice, by a metadata service of our own; `ray` is a stub (a real `ray drain-node`: tests/integration/cluster/test_hosts.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import ClassVar

import pytest

from cluster import spot_notice
from cluster.spot_notice import main

# Refuses the first call, as Ray does that is just being started again.
RAY = """#!/bin/bash
[[ -v RAY_ENABLE_AUTO_CONNECT ]] && exit 3
[[ -e "$0.called" ]] || { touch "$0.called"; exit 1; }
printf '%s\\n' "$@" > "$0.told"
"""


class Metadata(BaseHTTPRequestHandler):
    """IMDSv2: a token by PUT, then no notice, then one."""

    answers: ClassVar[list[str | None]] = []

    def do_PUT(self) -> None:
        right = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
        self._answer("secret" if right else None)

    def do_GET(self) -> None:
        right = self.path == "/latest/meta-data/spot/instance-action" and self.headers["X-aws-ec2-metadata-token"] == "secret"
        self._answer(self.answers.pop(0) if right else "unauthorised")

    def _answer(self, text: str | None) -> None:
        self.send_response(404 if text is None else 200)
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stub; the metadata service is up."""
    stub = tmp_path / "ray"
    stub.write_text(RAY)
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(spot_notice, "EVERY_S", 0.01)
    monkeypatch.setattr(spot_notice, "AGAIN_S", 0.01)
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        yield stub
        server.shutdown()
        thread.join()


def test_a_notice_drains_this_node(ray: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    notice = f'{{"action": "terminate", "time": "{datetime.now(UTC) + timedelta(seconds=110):%Y-%m-%dT%H:%M:%SZ}"}}'
    monkeypatch.setattr(Metadata, "answers", [None, None, notice])
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")  # as every entry point of ours sets it: the command would not find its node
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert main([]) == 0
    *told, deadline = ray.with_name("ray.told").read_text().splitlines()
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", notice]
    assert told == ["drain-node", *reason, "--deadline-remaining-seconds"]
    assert 90 < int(deadline) <= 100
    assert capsys.readouterr().out == f"this node is taken away: {notice}\n"


def test_a_notice_that_ray_does_not_take(ray: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Metadata, "answers", ['{"action": "stop", "time": "2020-01-01T00:00:00Z"}'])
    ray.write_text("#!/bin/bash\nexit 1\n")
    assert main([]) == 1
    assert "RAY_ADDRESS and the token must be those of `ray start`" in capsys.readouterr().err


def test_who_is_no_instance_is_told_once(ray: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Metadata, "answers", ["no JSON"])
    here, calls = os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"], [0]

    def wait(_: float) -> None:
        calls[0] += 1
        if calls[0] == 3:
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", here)

    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(spot_notice, "time", SimpleNamespace(sleep=wait, time=time.time))
    assert main([]) == 0
    assert capsys.readouterr().out.count("no metadata at http://127.0.0.1:9") == 1
    assert ray.with_name("ray.told").read_text().splitlines()[-1] == "110", "what AWS gives, where the notice says no time"
