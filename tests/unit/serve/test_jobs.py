"""Jobs: windows cover a clip without a gap, a short clip's job answers as `/v1/recognize`, others' jobs are not to be seen; rates and metrics beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bundle import Bundle
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.inputs.keypoints import KeypointInputs
from serve.problems import ProblemError
from serve.rates import MAX_CALLERS, RateLimit
from serve.schemas import Answer, JobState
from serve.windows import plan_windows, window_clip
from tests.unit.serve.in_process import call, client_of, code_of, local_api, npz, recognise
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network

NPZ = {"Content-Type": "application/x-npz"}


@given(st.integers(1, 2000), st.integers(4, 400))
def test_windows_cover_the_clip_and_their_parts_meet(num_frames: int, length: int) -> None:
    windows = plan_windows(num_frames, length)
    assert (windows[0].start, windows[-1].stop) == (0, num_frames)
    assert windows[0].first == 0
    assert windows[-1].last > num_frames
    for window in windows:
        assert window.stop - window.start == min(length, num_frames)
        assert window.start <= window.first <= window.last <= window.stop + 1
    for before, after in pairwise(windows):
        assert before.last == after.first
        assert after.start < before.stop or length < 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("jobs") / "bundle"
    return save_tiny_bundle(folder, tiny_network(scale=30), inputs=KeypointInputs(max_frames=40))


async def over(client: httpx.AsyncClient, location: str, **content: Any) -> dict[str, Any]:
    while True:
        state = (await client.get(location, **content)).json()
        if state["status"] not in ("queued", "running"):
            return dict(state)
        await asyncio.sleep(0.01)


def test_a_short_clip_is_answered_as_at_once_and_a_long_one_in_windows(bundle: Bundle) -> None:
    app = local_api(bundle.folder, max_frames=100)
    short, long = npz(tiny_clip(num_frames=40)), npz(tiny_clip(num_frames=300, seed=3))

    async def ask() -> None:
        async with client_of(app) as client:
            submitted = await client.post("/v1/jobs", content=short, headers=NPZ, params={"heads": True, "n_best": 2})
            assert submitted.status_code == 202
            assert submitted.json()["num_frames"] == 40
            state = await over(client, submitted.headers["location"])
            now = (await client.post("/v1/recognize", content=short, headers=NPZ, params={"heads": True, "n_best": 2})).json()
            assert {**state["answer"], "timings": 0} == {**now, "windows": 1, "timings": 0}
            assert code_of(await client.post("/v1/recognize", content=long, headers=NPZ)) == (413, "too-large")
            submitted = await client.post("/v1/jobs", content=long, headers=NPZ, params={"keypoints": True})
            async with client.stream("GET", f"{submitted.headers['location']}/events") as events:
                lines = [line async for line in events.aiter_lines()]
            states = [JobState.model_validate_json(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
            assert [state.progress for state in states] == sorted(state.progress for state in states)
            assert states[-1].status == "done"
            answer = states[-1].answer
            assert isinstance(answer, Answer)
            assert answer.windows == 10
            places = [(gloss.start_frame, gloss.end_frame) for gloss in answer.glosses or []]
            assert places
            assert places == sorted(places)
            assert places[-1][0] > 200
            assert answer.keypoints is not None
            assert answer.keypoints.shape == (300, 133, 3)

    asyncio.run(ask())


def test_a_job_can_fail_be_given_up_and_be_forgotten(bundle: Bundle) -> None:
    app = local_api(bundle.folder, max_jobs=1, job_keep_s=0.2)
    app.state.backend.hold = asyncio.Event()

    async def ask() -> None:
        async with client_of(app) as client:
            first = await client.post("/v1/jobs", content=npz(tiny_clip()), headers=NPZ)
            second = await client.post("/v1/jobs", content=npz(tiny_clip()), headers=NPZ)
            assert code_of(second) == (503, "overloaded")
            assert (await client.delete(first.headers["location"])).status_code == 204
            assert code_of(await client.get(first.headers["location"])) == (404, "no-job")
            await asyncio.sleep(0.01)
            app.state.backend.hold.set()
            bad = npz(tiny_clip(), keypoints=np.full((8, 133, 3), np.nan, np.float32))
            failed = await client.post("/v1/jobs", content=bad, headers=NPZ)
            state = await over(client, failed.headers["location"])
            assert (state["status"], state["problem"]["code"], state["answer"]) == ("failed", "unusable-keypoints", None)
            await asyncio.sleep(0.25)
            assert code_of(await client.get(failed.headers["location"])) == (404, "no-job")
            assert app.state.gate.inside == 0

    asyncio.run(ask())


def test_what_is_being_uploaded_takes_the_place_of_a_job(bundle: Bundle) -> None:
    app = local_api(bundle.folder, max_jobs=1)
    let_go = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield npz(tiny_clip())[:100]
        await let_go.wait()

    async def ask() -> None:
        async with client_of(app) as client:
            uploading = asyncio.create_task(client.post("/v1/jobs", content=slow(), headers=NPZ))
            await asyncio.sleep(0.01)
            assert code_of(await client.post("/v1/jobs", content=npz(tiny_clip()), headers=NPZ)) == (503, "overloaded")
            let_go.set()
            assert code_of(await uploading) == (422, "unreadable")
            assert (await client.post("/v1/jobs", content=npz(tiny_clip()), headers=NPZ)).status_code == 202

    asyncio.run(ask())


def test_a_window_has_its_own_pictures() -> None:
    pictures = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    clip = Clip(name="x", keypoints=np.zeros((100, 0, 3), np.float32), frames=Pictures(array=pictures), frame_size=(2, 2))
    for window in plan_windows(100, 40):
        part = window_clip(clip, window)
        assert part.frames is not None
        assert part.frames.num_frames == part.num_frames == 40
        assert part.frames.decode([0, 39])[:, 0, 0, 0].tolist() == [window.start, window.stop - 1]


def test_a_job_belongs_to_its_key_and_keys_have_rates(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\nsecond\n", encoding="utf-8")
    app = local_api(bundle.folder, api_keys_file=tmp_path / "keys", requests_per_minute=1, request_burst=2)
    mine, theirs = ({"X-API-Key": key} for key in ("first", "second"))

    async def ask() -> None:
        async with client_of(app) as client:
            location = (await client.post("/v1/jobs", content=npz(tiny_clip()), headers={**NPZ, **mine})).headers["location"]
            assert code_of(await client.get(location, headers=theirs)) == (404, "no-job")
            assert (await over(client, location, headers=mine))["status"] == "done"
            answers = [await client.post("/v1/recognize", content=npz(tiny_clip()), headers={**NPZ, **mine}) for _ in range(2)]
            assert answers[0].status_code == 200
            assert code_of(answers[1]) == (429, "rate-limited")
            assert 50 <= int(answers[1].headers["retry-after"]) <= 60
            assert (await client.post("/v1/recognize", content=npz(tiny_clip()), headers={**NPZ, **theirs})).status_code == 200

    asyncio.run(ask())


def test_a_bucket_fills_again_and_callers_are_forgotten() -> None:
    now = 0.0
    rates = RateLimit(60, 2, clock=lambda: now)
    rates.take("a")
    rates.take("a")
    with pytest.raises(ProblemError, match="try again in 1 s"):
        rates.take("a")
    now = 1.0
    rates.take("a")
    for number in range(2 * MAX_CALLERS):
        rates.take(str(number))
    assert len(rates._buckets) == MAX_CALLERS
    RateLimit(None, 1).take("a")


def test_figures_count_what_happened_by_known_paths_only(bundle: Bundle) -> None:
    app = local_api(bundle.folder, capacity=7)
    recognise(app, npz(tiny_clip()))
    recognise(app, npz(tiny_clip()), head="nose")
    recognise(app, b"")
    call(app, "GET", "/secret/path")
    response = call(app, "GET", "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for line in (
        'signray_requests_total{method="POST",path="/v1/recognize",status="200"} 1.0',
        'signray_requests_total{method="POST",path="/v1/recognize",status="422"} 2.0',
        'signray_requests_total{method="GET",path="other",status="404"} 1.0',
        'signray_recognitions_total{outcome="ok"} 1.0',
        'signray_recognitions_total{outcome="unknown-head"} 1.0',
        'signray_batch_size_bucket{le="1.0"} 1.0',
        "signray_capacity 7.0",
        "signray_in_work 0.0",
    ):
        assert line in response.text.splitlines()
    assert "secret" not in response.text


def test_a_clip_that_lasts_too_long_is_refused(bundle: Bundle) -> None:
    app = local_api(bundle.folder, max_seconds=1.0)
    refused = recognise(app, npz(tiny_clip(num_frames=26)))
    assert code_of(refused) == (413, "too-large")
    assert "/v1/jobs" in refused.json()["detail"]
    assert recognise(app, npz(tiny_clip(num_frames=24))).status_code == 200
    assert json.loads(call(app, "POST", "/v1/jobs", content=npz(tiny_clip(num_frames=26)), headers=NPZ).text)["status"] == "queued"
