"""Events: lines that were torn, told twice or can't be written; listeners that fail."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from workloads.training.events import EventFollower, EventLog, read_events


def write_events(path: Path, *steps: int) -> None:
    log = EventLog(path)
    for step in steps:
        log.write("step", step=step, value=step * 10)
    log.close()


def test_a_rank_without_a_path_writes_nothing() -> None:
    log = EventLog(None)
    log.write("step", step=1)
    log.close()


def test_no_file_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []


def test_steps_that_were_taken_again_are_told_by_their_last_telling(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 1, 2, 3)
    log = EventLog(path)
    log.write("message", text="resumed")
    log.write("message", text="resumed")
    log.write("step", step=3, value=-1)
    log.write("validation", step=3, value=-2)
    log.close()
    events = read_events(path)
    assert [(event["kind"], event.get("step")) for event in events] == [
        ("step", 1), ("step", 2), ("message", None), ("message", None), ("step", 3), ("validation", 3)
    ]  # fmt: skip
    assert events[4]["value"] == -1


@pytest.mark.parametrize("torn", ['{"kind": "step", "st', '{"kind": "message", "text": "Ä'.encode()[:-1], b"\xff\xfe"])
def test_a_torn_line_costs_itself_alone(tmp_path: Path, torn: str | bytes) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 1)
    with path.open("ab") as stream:
        stream.write(torn if isinstance(torn, bytes) else torn.encode())
    assert [event["step"] for event in read_events(path)] == [1]
    write_events(path, 2)  # the resumed run
    assert [event["step"] for event in read_events(path)] == [1, 2]


def test_unusual_line_ends_inside_a_text(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("message", text="a\u2028b\x85c\nd")
    log.close()
    assert [event["text"] for event in read_events(path)] == ["a\u2028b\x85c\nd"]


def test_a_full_disk_costs_the_telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    def half(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:10])

    monkeypatch.setattr(os, "write", full)
    log.write("step", step=1)
    log.write("step", step=2)
    monkeypatch.setattr(os, "write", half)
    log.write("step", step=3)
    monkeypatch.setattr(os, "write", real)
    log.write("step", step=4)
    log.close()
    assert [event["step"] for event in read_events(path)] == [4]
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_the_follower_hands_on_what_is_new_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    write_events(path, 1)
    found: list[Any] = []
    with EventFollower(path, [found.append], interval_s=0.005):
        write_events(path, 2)
        with path.open("a") as stream:
            stream.write('torn\n{"kind": "step", ')
            stream.flush()
            stream.write('"step": 3}\n')
    assert [event["step"] for event in found] == [2, 3]


def test_the_follower_waits_for_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    found: list[Any] = []
    with EventFollower(tmp_path / "events.jsonl", [found.append], interval_s=0.005):
        write_events(tmp_path / "events.jsonl", 1)
    assert len(found) == 1


def test_a_listener_that_fails_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = []

    def failing(event: dict[str, Any]) -> None:
        raise ZeroDivisionError("a bug in a plot")

    path = tmp_path / "events.jsonl"
    with EventFollower(path, [failing, found.append], interval_s=0.005):
        write_events(path, 1, 2)
    assert [event["step"] for event in found] == [1, 2]
    assert capsys.readouterr().err.count("ZeroDivisionError: a bug in a plot") == 1


def test_events_are_lines_of_json(tmp_path: Path) -> None:
    write_events(tmp_path / "events.jsonl", 7)
    event = json.loads((tmp_path / "events.jsonl").read_text())
    assert event.pop("time") == pytest.approx(time.time(), abs=60)
    assert event == {"kind": "step", "step": 7, "value": 70}
