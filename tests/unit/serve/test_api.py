"""The HTTP API in this process: answers equal predict's, every error is a problem document, limits hold."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from models.bundle import Bundle
from models.ensemble import save_ensemble
from serve.api import build_api
from serve.page import FOLDER
from serve.schemas import Answer, Models, Samples
from serve.settings import ServeSettings
from tests.unit.models.test_media import COCO, save_pose
from tests.unit.serve.in_process import BrokenBackend, LocalBackend, call, client_of, code_of, local_api, npz, recognise
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import save_tiny_sign_bundle, tiny_sign_clip
from workloads.predict import main as predict


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", tiny_network(scale=30))


@pytest.fixture(scope="module")
def api(bundle: Bundle) -> FastAPI:
    return local_api(bundle.folder)


def predicted(folder: Path, file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert predict(["--bundle", str(folder), "--format", "json", str(file), *options]) == 0
    clip: dict[str, Any] = json.loads(capsys.readouterr().out)["clips"][0]
    return clip


def shown(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("model", "timings", "heads")}


@pytest.mark.parametrize("options", [{}, {"head": "body", "beam_width": "2"}])
def test_a_clip_is_answered_as_predict_answers_it(
    bundle: Bundle, api: FastAPI, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str]
) -> None:
    file = tmp_path / "clip.npz"
    file.write_bytes(npz(tiny_clip(num_frames=40)))
    response = recognise(api, file.read_bytes(), name=str(file), **options)
    assert response.status_code == 200
    command = [part for key, value in options.items() for part in (f"--{key.removesuffix('_width')}", value)]
    assert shown(response.json()) == predicted(bundle.folder, file, capsys, *command)
    answer = Answer.model_validate(response.json())
    assert answer.glosses
    assert answer.model.checksum == bundle.checksum
    assert answer.timings.batch_size == 1
    assert answer.heads is None


def test_an_ensemble_of_isolated_signs_answers_with_ranked_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {name: save_tiny_sign_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("first", "second"))}
    ensemble = save_ensemble(tmp_path / "ensemble", members, {"first": 1.0, "second": 0.5}, metrics={}, provenance={})
    file = tmp_path / "sign.npz"
    file.write_bytes(npz(tiny_sign_clip()))
    app = local_api(ensemble.folder)
    response = recognise(app, file.read_bytes(), name=str(file), heads=True)
    assert shown(response.json()) == predicted(ensemble.folder, file, capsys)
    answer = Answer.model_validate(response.json())
    assert answer.candidates
    assert answer.candidates[0].label == answer.label
    assert list(answer.heads or {}) == ["ensemble", "first", "second"]
    assert code_of(recognise(app, file.read_bytes(), beam_width=3)) == (422, "invalid-parameter")


def test_every_kind_of_body_gives_the_same_answer(api: FastAPI, tmp_path: Path) -> None:
    save_pose(tmp_path / "a.pose", COCO)
    pose = (tmp_path / "a.pose").read_bytes()
    by_pose = recognise(api, pose, "application/x-pose", name="a").json()
    from models.media import parse_keypoints

    points = parse_keypoints(pose, ".pose", "a").keypoints
    document = {"keypoints": points.astype(float).tolist(), "frame_size": [320, 240], "fps": 25}
    file = npz(tiny_clip(), keypoints=points, frame_size=np.array([320, 240]))
    others = [
        recognise(api, json.dumps(document).encode(), "application/json; charset=utf-8", name="a"),
        recognise(api, file, "application/x-npz", name="a"),
        recognise(
            api, npz(tiny_clip(), keypoints=points.astype(np.float64), frame_size=None, compressed=True), "application/zip", name="a", frame_size="320x240"
        ),
        recognise(api, file, "application/octet-stream", name="a"),
        call(api, "POST", "/v1/recognize", files={"file": ("a.pose", pose)}, params={"name": "a"}),
        call(api, "POST", "/v1/recognize", files={"other": ("b", b"x"), "file": ("a.npz", file)}, params={"name": "a"}),
    ]
    # What the answer calls the clip need not tell its kind: the form's own name of the file does.
    for response in others:
        assert response.status_code == 200, response.text
        assert {**shown(response.json()), "name": ""} == {**shown(by_pose), "name": ""}


def test_each_head_is_told_on_request(bundle: Bundle, api: FastAPI) -> None:
    answer = recognise(api, npz(tiny_clip()), heads=True).json()
    expected = next(bundle.recogniser().recognise([tiny_clip()]))
    assert list(answer["heads"]) == list(expected.heads) == list(bundle.answering)
    for name, head in expected.heads.items():
        assert answer["heads"][name]["sentence"].split() == list(head.words)


def test_options_add_to_the_answer(api: FastAPI) -> None:
    plain, clip = shown(recognise(api, npz(tiny_clip())).json()), tiny_clip()
    answer = recognise(api, npz(clip), n_best=4, cleaned=True, keypoints=True).json()
    Answer.model_validate(answer)
    assert {name: answer[name] for name in plain} == plain
    sentences = [entry["sentence"] for entry in answer["n_best"]]
    assert 1 < len(sentences) == len(set(sentences)) <= 4
    scores = [entry["score"] for entry in answer["n_best"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["cleaned"] == plain["sentence"]  # the generated corpus has no rules
    points = np.frombuffer(base64.b64decode(answer["keypoints"]["data"]), "<f4").reshape(answer["keypoints"]["shape"])
    assert np.array_equal(points, clip.keypoints)
    assert answer["keypoints"]["frame_size"] == list(clip.frame_size)
    refused = recognise(api, npz(clip), members="left")
    assert code_of(refused) == (422, "invalid-parameter")
    assert "it is one network" in refused.json()["detail"]


def test_members_of_an_ensemble_are_chosen(tmp_path: Path) -> None:
    members = {name: save_tiny_bundle(tmp_path / name, tiny_network(seed, scale=30)) for seed, name in enumerate(("first", "second"))}
    ensemble = save_ensemble(tmp_path / "both", members, {"first": 1.0, "second": 3.0}, metrics={}, provenance={})
    app, body = local_api(ensemble.folder), npz(tiny_clip(num_frames=40))
    alone = recognise(app, body, members="second").json()
    assert (alone["head"], alone["members"]) == ("ensemble", ["second"])
    assert alone["sentence"] == recognise(app, body, head="second").json()["sentence"] != recognise(app, body, head="first").json()["sentence"]
    assert shown(recognise(app, body, members="first, second").json())["sentence"] == recognise(app, body).json()["sentence"]
    assert code_of(recognise(app, body, members="third")) == (422, "invalid-parameter")
    assert code_of(recognise(app, body, members="first", head="second")) == (422, "unknown-head")


def test_samples_are_listed_and_recognised(tmp_path: Path) -> None:
    clips = [tiny_clip("a/b", glosses=("HAUS", "REGEN")), tiny_clip("c", num_frames=40, fps=None)]
    app = local_api(save_tiny_bundle(tmp_path / "bundle", samples=clips).folder)
    listed = Samples.model_validate(call(app, "GET", "/v1/samples").json()).samples
    assert [(entry.name, entry.num_frames, entry.reference) for entry in listed] == [("a/b", 24, "HAUS REGEN"), ("c", 40, None)]
    for entry, clip in zip(listed, clips, strict=True):
        file = call(app, "GET", f"/v1/samples/{entry.number}")
        assert file.headers["content-type"] == "application/x-npz"
        assert shown(recognise(app, file.content, name="x").json()) == {**shown(recognise(app, npz(clip, fps=clip.fps), name="x").json())}
    assert code_of(call(app, "GET", "/v1/samples/2")) == (404, "no-sample")
    assert code_of(call(app, "GET", "/v1/samples/x")) == (422, "invalid-parameter")


def test_the_page_comes_from_here_and_loads_from_here_only(api: FastAPI) -> None:
    page = call(api, "GET", "/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    for file in sorted(FOLDER.iterdir()):
        content = call(api, "GET", f"/static/{file.name}")
        assert content.status_code == 200
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", content.text), file
    for name in ("nothing.js", "..%2Fapi.py", "%2e%2e%2fapi.py"):
        assert code_of(call(api, "GET", f"/static/{name}"))[0] == 404


@pytest.mark.parametrize(
    ("request_of", "expected"),
    [
        ({"path": "/nothing"}, (404, "not-found")),
        ({"path": "/v1/translate"}, (422, "no-translation")),
        ({"path": "/v1/recognize/../../etc/passwd"}, (404, "not-found")),
        ({"method": "GET"}, (405, "method-not-allowed")),
        ({"content": b"x", "headers": {"Content-Type": "video/mp4"}}, (415, "unsupported-media-type")),
        ({"content": b"x"}, (415, "unsupported-media-type")),
        ({"content": b"x", "headers": {"Content-Type": "application/octet-stream"}}, (415, "unsupported-media-type")),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, (400, "bad-request")),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, (400, "bad-request")),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, (400, "bad-request")),
        ({"files": {"other": b"x"}}, (400, "bad-request")),
        ({"files": {f"f{number}": b"x" for number in range(9)}}, (413, "too-large")),
        ({"params": {"beam_width": "0"}}, (422, "invalid-parameter")),
        ({"params": {"fps": "nan"}}, (422, "invalid-parameter")),
        ({"params": {"frame_size": "big"}}, (422, "invalid-parameter")),
        ({"params": {"head": "nose"}}, (422, "unknown-head")),
        ({"content": b""}, (422, "unreadable")),
        ({"content": b"{", "kind": "application/json"}, (422, "unreadable")),
        ({"content": b"[" * 100_000, "kind": "application/json"}, (422, "unreadable")),
        ({"content": b"[]", "kind": "application/json"}, (422, "unreadable")),
        ({"content": b'{"keypoints": [[[1, 2, 3]], [[1]]]}', "kind": "application/json"}, (422, "unreadable")),
        ({"content": b'{"keypoints": [[["1", "2", "3"]]]}', "kind": "application/json"}, (422, "unreadable")),
        ({"content": b'{"keypoints": [], "fsp": 25}', "kind": "application/json"}, (422, "invalid-parameter")),
        ({"content": npz(tiny_clip(num_frames=3))}, (422, "unusable-keypoints")),
        ({"content": npz(tiny_clip(), keypoints=np.full((8, 133, 3), np.nan, np.float32))}, (422, "unusable-keypoints")),
        ({"content": npz(tiny_clip(), frame_size=None)}, (422, "unusable-keypoints")),
        ({"content": npz(tiny_clip(), keypoints=np.array([{"a": 1}]))}, (422, "unreadable")),
    ],
)
def test_every_error_is_a_problem_document(api: FastAPI, request_of: dict[str, Any], expected: tuple[int, str]) -> None:
    request = dict(request_of)
    method, path = request.pop("method", "POST"), request.pop("path", "/v1/recognize")
    if "files" not in request and "headers" not in request and request.get("content") != b"x":
        request["headers"] = {"Content-Type": request.pop("kind", "application/x-npz")}
        request.setdefault("content", npz(tiny_clip()))
    assert code_of(call(api, method, path, **request)) == expected


def test_what_is_beyond_the_limits_is_refused_before_it_is_unpacked(bundle: Bundle) -> None:
    app = local_api(bundle.folder, max_body_bytes=100_000, max_frames=100, max_points=140)
    bomb = npz(tiny_clip(), keypoints=np.zeros((200_000, 133, 3), np.float32), compressed=True)
    roomy = local_api(bundle.folder, max_frames=100, max_points=140)
    assert code_of(recognise(app, bytes(100_001))) == (413, "too-large")
    refused = recognise(roomy, bomb)
    assert code_of(refused) == (422, "unreadable")
    assert "would unpack to 319200000 bytes" in refused.json()["detail"]
    assert code_of(recognise(roomy, npz(tiny_clip(num_frames=101)))) == (413, "too-large")
    assert code_of(recognise(roomy, npz(tiny_clip(), keypoints=np.zeros((4, 141, 3))))) == (413, "too-large")


def test_a_head_that_announces_more_than_there_is_allocates_nothing(api: FastAPI) -> None:
    content = npz(tiny_clip(num_frames=24))
    forged = content.replace(b"'shape': (24, 133, 3), }   ", b"'shape': (2400000, 133, 3)}")
    assert forged != content
    refused = recognise(api, forged)
    assert code_of(refused) == (422, "unreadable")
    assert "announces" in refused.json()["detail"]


def test_a_body_of_unknown_length_is_cut_at_the_limit(bundle: Bundle) -> None:
    async def endless() -> Any:
        while True:
            yield bytes(65536)

    app = local_api(bundle.folder, max_body_bytes=1 << 20)
    response = call(app, "POST", "/v1/recognize", content=endless(), headers={"Content-Type": "application/x-npz"})
    assert code_of(response) == (413, "too-large")


def test_a_body_that_never_ends_times_out(bundle: Bundle) -> None:
    async def slow() -> Any:
        yield b"PK"
        await asyncio.sleep(60)

    app = local_api(bundle.folder, body_timeout_s=0.05)
    assert code_of(call(app, "POST", "/v1/recognize", content=slow(), headers={"Content-Type": "application/x-npz"})) == (408, "body-timeout")


def test_beyond_its_capacity_the_service_answers_503_and_recovers(bundle: Bundle) -> None:
    async def flood() -> None:
        app = local_api(bundle.folder, capacity=2)
        backend = app.state.backend
        assert isinstance(backend, LocalBackend)
        backend.hold = asyncio.Event()
        body, headers = npz(tiny_clip()), {"Content-Type": "application/x-npz"}
        async with client_of(app) as client:
            waiting = [asyncio.create_task(client.post("/v1/recognize", content=body, headers=headers)) for _ in range(6)]
            while sum(task.done() for task in waiting) < 4:
                await asyncio.sleep(0.01)
            backend.hold.set()
            responses = await asyncio.gather(*waiting)
            refused = [response for response in responses if response.status_code != 200]
            assert len(refused) == 4
            for response in refused:
                assert code_of(response) == (503, "overloaded")
                assert response.headers["retry-after"] == "1"
            assert (await client.post("/v1/recognize", content=body, headers=headers)).status_code == 200
            assert app.state.gate.inside == 0

    asyncio.run(flood())


def test_a_service_that_ends_answers_what_is_in_work_and_takes_no_more(bundle: Bundle) -> None:
    async def ending() -> None:
        app = local_api(bundle.folder)
        app.state.backend.hold = asyncio.Event()
        body, headers = npz(tiny_clip()), {"Content-Type": "application/x-npz"}
        async with client_of(app) as client:
            waiting = [asyncio.create_task(client.post("/v1/recognize", content=body, headers=headers)) for _ in range(3)]
            while app.state.gate.inside < 3:
                await asyncio.sleep(0.01)
            assert await app.state.gate.drain(0.1) == 3
            drained = asyncio.create_task(app.state.gate.drain(10))
            for request in (client.post("/v1/recognize", content=body, headers=headers), client.get("/v1/health/ready")):
                refused = await request
                assert code_of(refused) == (503, "stopping")
                assert refused.headers["retry-after"] == "1"
            assert (await client.get("/v1/health/live")).status_code == 200
            submitted = await client.post("/v1/jobs", content=body, headers=headers)
            assert code_of(submitted) == (503, "stopping")
            app.state.backend.hold.set()
            assert [response.status_code for response in await asyncio.gather(*waiting)] == [200] * 3
            assert await drained == 0

    asyncio.run(ending())


def test_a_bug_tells_nothing_and_a_silent_model_is_not_ready() -> None:
    app = build_api(BrokenBackend(), ServeSettings(bundle="x", ready_timeout_s=0.05, timeout_s=0.05))
    response = recognise(app, npz(tiny_clip()))
    assert code_of(response) == (500, "internal")
    assert "secret" not in response.text
    assert code_of(call(app, "GET", "/v1/health/ready")) == (503, "not-ready")
    assert code_of(call(app, "GET", "/v1/models")) == (503, "timeout")
    assert call(app, "GET", "/v1/health/live").json() == {"status": "live"}


def test_keys_open_the_service(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\n\n second \n", encoding="utf-8")
    app = local_api(bundle.folder, api_keys_file=tmp_path / "keys")
    for headers, status in (({}, 401), ({"Authorization": "Bearer first"}, 200), ({"X-API-Key": "second"}, 200), ({"Authorization": "Bearer firs"}, 401)):
        response = call(app, "GET", "/v1/models", headers=headers)
        assert response.status_code == status
        if status == 401:
            assert code_of(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
    assert code_of(recognise(app, npz(tiny_clip()))) == (401, "unauthorized")
    assert call(app, "GET", "/v1/health/ready").status_code == 200
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(ValueError, match="holds no API key"):
        local_api(bundle.folder, api_keys_file=tmp_path / "keys")


def test_what_answers_is_told_without_its_folder(bundle: Bundle, api: FastAPI) -> None:
    response = call(api, "GET", "/v1/models", headers={"Origin": "http://elsewhere.example"})
    assert not [name for name in response.headers if name.startswith("access-control-")]  # other pages can't read it
    (model,) = Models.model_validate(response.json()).models
    assert (model.name, model.system, model.heads) == ("bundle", "mska_slr", list(bundle.answering))
    assert str(bundle.folder.parent) not in response.text
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


def test_openapi_names_every_error_and_has_examples(api: FastAPI) -> None:
    document = call(api, "GET", "/openapi.json").json()
    paths = ["/metrics", "/v1/health/live", "/v1/health/ready", "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events"]
    paths += ["/v1/models", "/v1/recognize", "/v1/samples", "/v1/samples/{number}", "/v1/translate"]
    assert sorted(document["paths"]) == paths
    operation = document["paths"]["/v1/recognize"]["post"]
    assert set(operation["responses"]) == {"200", "400", "401", "408", "413", "415", "422", "429", "500", "503"}
    assert set(operation["requestBody"]["content"]) >= {"application/json", "application/x-npz", "application/x-pose", "multipart/form-data"}
    for status, response in operation["responses"].items():
        (content,) = response["content"].values()
        assert content.get("examples"), status
    operations = [operation, document["paths"]["/v1/translate"]["post"]]
    for example in [each for one in operations for each in one["responses"]["200"]["content"]["application/json"]["examples"].values()]:
        Answer.model_validate(example["value"])


def test_damaged_files_are_never_our_fault(api: FastAPI, tmp_path: Path) -> None:
    """Bit flips, cuts and noise of both kinds of file: refused or recognised, never 5xx."""
    save_pose(tmp_path / "a.pose", COCO)
    originals = {
        "application/x-npz": (npz(tiny_clip(num_frames=5), compressed=True), npz(tiny_clip(num_frames=5))),
        "application/x-pose": ((tmp_path / "a.pose").read_bytes(),),
        "application/json": (json.dumps({"keypoints": [[[1.5, 2, 1]] * 133] * 4, "frame_size": [9, 9], "fps": 25}).encode(),),
    }
    generator = np.random.default_rng(0)

    async def fuzz() -> set[int]:
        found = set()
        async with client_of(api) as client:
            for kind, contents in originals.items():
                for content in contents:
                    for body in damaged(content, generator, 40):
                        response = await client.post("/v1/recognize", content=body, headers={"Content-Type": kind})
                        if response.status_code != 200:
                            code_of(response)
                        found.add(response.status_code)
        return found

    assert asyncio.run(fuzz()) <= {200, 413, 422}


def damaged(content: bytes, generator: np.random.Generator, count: int) -> Any:
    """Copies of a file with flipped bits in its heads, anywhere, cut off, doubled, empty."""
    yield b""
    yield content + content
    for number in range(count):
        if number % 4 == 0:
            yield content[: int(generator.integers(len(content)))]
            continue
        changed = bytearray(content)
        reach = len(content) if number % 2 else min(len(content), 400)
        for position in generator.integers(0, reach, int(generator.integers(1, 9))):
            place = int(position) if number % 3 else len(content) - 1 - int(position)
            changed[place] ^= 1 << int(generator.integers(8))
        yield bytes(changed)
