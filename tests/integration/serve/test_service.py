"""The service on a real Ray cluster, by its command: asked by its own client, answers as this process does, turns away what is too much, ends well."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import connect, free_port
from models.ensemble import Ensemble, save_ensemble
from serve import client as client_command
from serve.client import Client, ServiceError
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.integration.head_node import HeadNode
from tests.unit.models.media.videos import write_video
from tests.unit.models.tiny_onnx import dots, write_pose_model
from tests.unit.serve.in_process import npz
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from workloads.predict import main as predict

CAPACITY = 4
TOO_LATE = (0, "nobody listened any more")
NPZ: dict[str, Any] = {"headers": {"Content-Type": "application/x-npz"}, "timeout": 60}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("served")
    members = {name: save_tiny_bundle(folder / name, tiny_network(seed, scale=30)) for seed, name in enumerate(("first", "second"))}
    return save_ensemble(folder / "both", members, {"first": 1.0, "second": 2.0}, metrics={}, provenance={})


@pytest.fixture(scope="module")
def service(head_node: HeadNode, bundle: Ensemble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of what `serve/run.py` serves: an ensemble, its members apart, with pose. Takes some 15 s: Serve starts its controller, its proxy and five replicas.

    In the end the command gets a SIGTERM amid requests.
    """
    from ray import serve

    port, pose = free_port(), write_pose_model(tmp_path_factory.mktemp("pose") / "pose.onnx")
    command = [sys.executable, "serve/run.py", "--bundle", str(bundle.folder), "--split-members", "--member-timeout", "3", "--pose-model", str(pose)]
    command += ["--port", str(port), "--capacity", str(CAPACITY)]
    environment = {**os.environ, "RAY_ADDRESS": head_node.address}
    with subprocess.Popen(command, cwd=REPOSITORY_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            with connect(address=head_node.address, driver_logs=False):
                assert process.stdout is not None
                assert "signray serves" in next(line for line in process.stdout if line.startswith("signray"))
                try:
                    yield (url := f"http://127.0.0.1:{port}")
                    _end(process, url)
                finally:
                    process.kill()
                    serve.shutdown()  # nothing is there to be shut down, unless a test has failed: this process forgets what it knew of it
                    _wait_until_gone()
        finally:
            process.kill()


def _wait_until_gone() -> None:
    import ray

    deadline = time.monotonic() + 10
    while left := [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] == "serve"]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _end(process: subprocess.Popen[str], url: str) -> None:
    """SIGTERM while requests are in work and a member's replica starts anew: they are answered."""
    body = npz(tiny_clip(num_frames=400))
    with httpx.Client(base_url=url, timeout=60) as client, ThreadPoolExecutor(CAPACITY) as threads:
        client.get("/v1/health/live").raise_for_status()
        asked = [threads.submit(client.post, "/v1/recognize", content=body, **NPZ) for _ in range(CAPACITY)]
        while not (in_work := _in_work(url)) and not all(each.done() for each in asked):
            pass
        _kill_member()
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, "not drained" in said) == (0, False), said
    codes = [_code(answer) for answer in asked]
    assert codes.count((200, None)) >= max(in_work, 1), said
    assert set(codes) <= {(200, None), (503, "stopping"), TOO_LATE}


def _kill_member() -> None:
    """The second member's replica, where it runs: Serve starts another."""
    from ray.serve.context import _get_global_client

    from serve.app import APPLICATION

    for replica in _get_global_client().get_serve_details()["applications"][APPLICATION]["deployments"]["Member-1"]["replicas"]:
        if replica.get("pid") is not None:  # one that starts has none yet
            with suppress(ProcessLookupError):
                os.kill(replica["pid"], signal.SIGKILL)


def _code(answer: Future[httpx.Response]) -> tuple[int, str | None]:
    try:
        return answer.result().status_code, answer.result().json().get("code")
    except httpx.TransportError:  # its thread had its turn when nobody listened any more
        return TOO_LATE


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two clips, a clip that is too short, a file that can't be read, one that isn't there."""
    contents = {
        "long.npz": npz(tiny_clip(num_frames=40)),
        "short.npz": npz(tiny_clip(num_frames=9)),
        "still.npz": npz(tiny_clip(num_frames=2)),
        "bad.npz": b"PK",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [*(tmp_path / name for name in contents), tmp_path / "missing.npz"]


def test_the_client_prints_what_predict_prints(
    service: str, bundle: Ensemble, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    names = [str(file) for file in files]
    for form in ("json", "jsonl", "table"):
        for options in ([], ["--head", "first", "--beam", "2"]):
            assert predict(["--bundle", str(bundle.folder), "--batch-size", "1", "--format", form, *options, *names]) == 1
            expected = capsys.readouterr().out
            assert client_command.main(["--url", service, "--format", form, *options, *names]) == 1
            assert capsys.readouterr().out == expected


def test_the_class_answers_by_calls_and_coroutines(service: str, bundle: Ensemble, files: list[Path]) -> None:
    async def ask() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        async with Client(service) as client:
            return await client.models_async(), await client.recognize_async(files[0], heads=True)

    models, answer = asyncio.run(ask())
    with Client(service) as client:
        assert client.models() == models
        again = client.recognize(files[0].read_bytes(), name=str(files[0]), heads=True)
        assert {**again, "timings": None} == {**answer, "timings": None}
        with pytest.raises(ServiceError, match="no head of this model") as refused:
            client.recognize(files[0], head="nose")
        assert (refused.value.code, refused.value.status) == ("unknown-head", 422)
    assert models[0]["checksum"] == bundle.checksum
    assert list(answer["heads"]) == list(bundle.answering)


def test_too_many_are_turned_away_by_the_service_itself(service: str) -> None:
    body, headers = npz(tiny_clip(num_frames=60)), {"Content-Type": "application/x-npz"}

    async def flood() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service, timeout=60) as client:
            return list(await asyncio.gather(*(client.post("/v1/recognize", content=body, headers=headers) for _ in range(10 * CAPACITY))))

    responses = asyncio.run(flood())
    counts = Counter(response.status_code for response in responses)
    assert set(counts) <= {200, 503}
    assert counts[200] >= CAPACITY
    for response in responses:
        if response.status_code == 503:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["retry-after"] == "1"
            assert response.json()["code"] == "overloaded"
    assert httpx.post(f"{service}/v1/recognize", content=body, headers=headers, timeout=60).status_code == 200


def test_live_frames_go_through_the_proxy(service: str) -> None:
    from websockets.sync.client import connect as open_socket

    clip = tiny_clip(num_frames=48)
    with open_socket(f"{service.replace('http', 'ws')}/v1/live") as socket:
        socket.send(json.dumps({"num_points": 133, "frame_size": [200, 100], "fps": 25}))
        assert json.loads(socket.recv())["type"] == "ready"
        socket.send(clip.keypoints[:24].tobytes())
        assert json.loads(socket.recv(timeout=60))["type"] == "partial"
        socket.send(clip.keypoints[24:].tobytes())
        socket.send('{"type": "end"}')
        while (message := json.loads(socket.recv(timeout=60)))["type"] != "final":
            pass
    assert (message["num_frames"], message["tentative"]) == (48, [])
    assert httpx.get(service, timeout=30).text.startswith("<!doctype html>")


def test_a_video_becomes_keypoints_beside_the_model(service: str, tmp_path: Path) -> None:
    places = np.array([[[20 + step, 15], [40, 20 + step // 2], [30, 40]] for step in range(24)])
    video = write_video(tmp_path / "signing.mp4", dots(places, (64, 48)))
    with Client(service) as client:
        answer = client.recognize(video)
        assert (answer["num_frames"], answer["name"]) == (24, str(video))
        video.write_bytes(video.read_bytes()[:700])
        with pytest.raises(ServiceError, match="truncated or damaged") as refused:
            client.recognize(video)
    assert refused.value.code == "unreadable"


def test_a_job_is_watched_and_a_caller_who_leaves_is_forgotten(service: str) -> None:
    body, headers = npz(tiny_clip(num_frames=1000)), {"Content-Type": "application/x-npz"}
    submitted = httpx.post(f"{service}/v1/jobs", content=body, headers=headers, timeout=60)
    with httpx.stream("GET", f"{service}{submitted.headers['location']}/events", timeout=60) as events:
        states = [json.loads(line.removeprefix("data: ")) for line in events.iter_lines() if line.startswith("data: ")]
    assert states[-1]["status"] == "done"
    assert states[-1]["answer"]["windows"] > 1
    for _ in range(2 * CAPACITY):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{service}/v1/recognize", content=body, headers=headers, timeout=httpx.Timeout(60, read=0.001))
    deadline = time.monotonic() + 30
    while _in_work(service):
        assert time.monotonic() < deadline
    assert httpx.post(f"{service}/v1/recognize", content=npz(tiny_clip()), headers=headers, timeout=60).status_code == 200


def test_members_in_deployments_of_their_own_answer_as_together(service: str, bundle: Ensemble) -> None:
    """One of the last tests: a member dies."""
    clip = tiny_clip(num_frames=40)
    (expected,) = ModelWorker(ServeSettings(bundle=str(bundle.folder), device="cpu")).answer([Task(clip=clip, choice=Choice(heads=True))])
    with Client(service) as client:
        answer = client.recognize(npz(clip), name="clip", heads=True)
        assert {key: value for key, value in answer.items() if key not in ("model", "timings")} == expected.record
        _kill_member()
        after = client.recognize(npz(clip), name="clip")
    assert after.get("members_failed", ["second"]) == ["second"]  # or asked of its successor


def _in_work(url: str) -> float:
    lines = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
    return float(next(line for line in lines if line.startswith("signray_in_work ")).split()[1])


def test_what_lies_beside_the_api_is_ours_too(service: str) -> None:
    assert httpx.get(f"{service}/v1/health/ready").json() == {"status": "ready"}
    missing = httpx.get(f"{service}/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not-found")
    assert json.loads(httpx.get(f"{service}/openapi.json").text)["info"]["title"] == "signray"


def test_its_figures_stand_beside_rays_at_the_node(service: str, ray_cluster: HeadNode) -> None:
    """Takes up to a quarter of a minute: the front hands them on every five seconds, Ray's processes every ten."""
    import ray

    assert httpx.get(f"{service}/nothing").status_code == 404
    with nullcontext() if ray.is_initialized() else connect():
        (node,) = [node for node in ray.nodes() if node["Alive"]]
    url, text, deadline = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", "", time.monotonic() + 60
    while not (missed := [line for line in text.splitlines() if line.startswith("ray_signray_requests_total{") and 'status="404"' in line]):
        assert time.monotonic() < deadline, "not exported"
        time.sleep(0.5)
        with suppress(httpx.TransportError):
            text = httpx.get(url, timeout=30).text
    assert sum(float(line.split()[-1]) for line in missed) >= 1
    assert "ray_signray_request_seconds_sum_total{" in text
    assert "ray_signray_capacity{" in text
