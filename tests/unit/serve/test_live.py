"""Live signing: what is stable never changes, sessions end as they should, and what comes out in the end is what the whole clip gives."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient, WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

from models.bundle import Bundle
from serve.live_prefix import LivePrefix
from tests.unit.serve.in_process import local_api, npz, recognise
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.tiny_signs import save_tiny_sign_bundle

FAST = {"live_pace_s": 0.01, "live_rounds": 2, "live_depth_s": 0.4}


def gloss(name: str, start: int, end: int) -> dict[str, Any]:
    return {"gloss": name, "start_frame": start, "end_frame": end}


def names(glosses: Any) -> list[str]:
    return [entry["gloss"] for entry in glosses]


def test_a_gloss_is_stable_when_rounds_agree_and_it_lies_back() -> None:
    prefix = LivePrefix(num_rounds=2, depth=10)
    prefix.update([gloss("A", 0, 5), gloss("B", 8, 12)], num_frames=20)
    assert (names(prefix.stable), names(prefix.tentative)) == ([], ["A", "B"])
    prefix.update([gloss("A", 0, 5), gloss("C", 8, 12)], num_frames=24)
    assert (names(prefix.stable), names(prefix.tentative)) == (["A"], ["C"])
    prefix.update([gloss("A", 1, 6), gloss("C", 8, 12), gloss("D", 15, 20)], num_frames=28)  # A has moved, and isn't told twice
    assert (names(prefix.stable), names(prefix.tentative)) == (["A", "C"], ["D"])
    prefix.update([gloss("D", 15, 20)], num_frames=29)
    assert names(prefix.tentative) == ["D"]  # not yet far enough back
    prefix.leave(21)
    assert names(prefix.stable) == ["A", "C", "D"]
    prefix.update([gloss("D", 26, 30)], num_frames=31)  # signed again
    prefix.finish()
    assert names(prefix.stable) == ["A", "C", "D", "D"]


@given(st.lists(st.lists(st.sampled_from("ABC"), max_size=6), min_size=1, max_size=12), st.integers(1, 3), st.integers(0, 12))
def test_the_stable_prefix_only_grows(rounds: list[list[str]], num_rounds: int, depth: int) -> None:
    prefix, before = LivePrefix(num_rounds=num_rounds, depth=depth), []
    for number, answer in enumerate(rounds):
        prefix.update([gloss(name, 4 * place, 4 * place + 3) for place, name in enumerate(answer)], num_frames=4 * number + 8)
        assert names(prefix.stable)[: len(before)] == before
        before = names(prefix.stable)
        ends = [entry["end_frame"] for entry in (*prefix.stable, *prefix.tentative)]
        assert ends == sorted(ends)
    prefix.finish()
    assert prefix.tentative == []


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", tiny_network(scale=30))


@contextmanager
def session(app: FastAPI, headers: dict[str, str] | None = None, **start: Any) -> Iterator[WebSocketTestSession]:
    opening = {"num_points": 133, "frame_size": [200, 100], "fps": 25, **start}
    with TestClient(app) as client, client.websocket_connect("/v1/live", headers=headers or {}) as socket:
        socket.send_text(json.dumps(opening))
        yield socket


def test_frames_go_in_and_the_clips_own_answer_comes_out(bundle: Bundle) -> None:
    app, clip = local_api(bundle.folder, **FAST), tiny_clip(num_frames=60)
    with session(app) as socket:
        ready = socket.receive_json()
        assert (ready["type"], ready["window_frames"], ready["pace_s"]) == ("ready", 400, 0.01)
        stable: list[str] = []
        for start in range(0, 60, 20):
            socket.send_bytes(clip.keypoints[start : start + 20].tobytes())
            message = socket.receive_json()
            assert message["type"] == "partial"
            assert names(message["stable"])[: len(stable)] == stable
            stable = names(message["stable"])
            assert message["sentence"].split() == names(message["stable"]) + names(message["tentative"])
        socket.send_text('{"type":"end"}')
        while (message := socket.receive_json())["type"] != "final":
            stable = names(message["stable"])
    assert message["num_frames"] == 60
    assert message["tentative"] == []
    assert names(message["stable"])[: len(stable)] == stable
    whole = recognise(app, npz(clip)).json()
    if not stable:
        assert message["stable"] == whole["glosses"]


def test_a_stream_beyond_the_window_keeps_its_places(bundle: Bundle) -> None:
    app, clip = local_api(bundle.folder, **FAST, max_frames=40), tiny_clip(num_frames=100)
    with session(app) as socket:
        assert socket.receive_json()["window_frames"] == 40
        for start in range(0, 100, 20):
            socket.send_bytes(clip.keypoints[start : start + 20].tobytes())
            socket.receive_json()
        socket.send_text('{"type": "end"}')
        while (message := socket.receive_json())["type"] != "final":
            pass
    places = [(entry["start_frame"], entry["end_frame"]) for entry in message["stable"]]
    assert places
    assert max(end for _, end in places) > 60
    assert places == sorted(places)
    assert message["num_frames"] == 100


@pytest.mark.parametrize(
    ("start", "sent", "code"),
    [
        ({"num_points": 27}, None, "unusable-keypoints"),
        ({"fps": 0}, None, "invalid-parameter"),
        ({"nonsense": 1}, None, "invalid-parameter"),
        ({"head": "nose"}, bytes(133 * 12 * 20), "unknown-head"),
        ({}, b"abc", "unreadable"),
        ({}, b"", "unreadable"),
        ({}, bytes(133 * 12 * 51), "too-large"),
        ({}, np.full((20, 133, 3), np.nan, np.float32).tobytes(), "unusable-keypoints"),
        ({}, '{"type": "end"}', "unusable-keypoints"),
        ({}, "hello", "bad-request"),
        ({}, None, "body-timeout"),
    ],
)
def test_what_goes_wrong_is_a_problem_and_ends_the_session(bundle: Bundle, start: dict[str, Any], sent: bytes | str | None, code: str) -> None:
    app = local_api(bundle.folder, **FAST, live_idle_s=0.5, max_live_frames=50)
    with session(app, **start) as socket:
        message = socket.receive_json()
        if message["type"] == "ready":
            if isinstance(sent, bytes):
                socket.send_bytes(sent)
            elif sent is not None:
                socket.send_text(sent)
            message = socket.receive_json()
        assert (message["type"], message["code"]) == ("problem", code)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1008


def test_sessions_are_counted_kept_to_keys_and_to_our_own_page(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("first\n", encoding="utf-8")
    app = local_api(bundle.folder, live_sessions=1, api_keys_file=tmp_path / "keys")
    with session(app, api_key="first") as socket:
        assert socket.receive_json()["type"] == "ready"
        with session(app, api_key="first") as second:
            assert second.receive_json()["code"] == "overloaded"
    for headers, opening, expected in (({}, {}, "unauthorized"), ({"Authorization": "Bearer first"}, {}, None), ({}, {"api_key": "other"}, "unauthorized")):
        with session(app, headers, **opening) as socket:
            assert socket.receive_json().get("code") == expected
    with pytest.raises(WebSocketDisconnect), session(app, {"Origin": "http://elsewhere.example"}, api_key="first") as socket:
        socket.receive_json()
    with session(app, {"Origin": "http://testserver"}, api_key="first") as socket:
        assert socket.receive_json()["type"] == "ready"


def test_a_session_ends_with_its_service(bundle: Bundle) -> None:
    app = local_api(bundle.folder, **FAST)
    with session(app) as socket:
        assert socket.receive_json()["type"] == "ready"
        app.state.gate.closed = True
        assert socket.receive_json()["code"] == "stopping"
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
        assert closed.value.code == 1013


def test_isolated_signs_are_not_for_streams(tmp_path: Path) -> None:
    with session(local_api(save_tiny_sign_bundle(tmp_path / "signs").folder), num_points=27) as socket:
        assert socket.receive_json()["code"] == "not-live"
