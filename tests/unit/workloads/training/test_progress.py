"""What a person sees: lines in a log, one live line on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from workloads.training.progress import Progress, duration, grouped

TERMS = {"loss": 6.0, "ctc_left": 1.0, "ctc_body": 2.0, "distil_left": 3.0}


def step(number: int, **changes: Any) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "seconds": 0.5, "frames_per_s": 100.0, "terms": TERMS, "lr": 1e-3, **changes}


def shown(events: list[dict[str, Any]], *, terminal: bool = False, log_steps: int = 2, total: int = 10, width: int = 200) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, highlight=False, soft_wrap=True, color_system=None)
    with Progress(total_steps=total, epochs=3, log_steps=log_steps, console=console) as progress:
        for event in events:
            progress(event)
    return stream.getvalue()


def test_a_log_has_a_line_per_window() -> None:
    lines = shown([step(1), step(2, seconds=1.5, frames_per_s=300.0), step(3), step(4)]).splitlines()
    assert lines == [
        "step 2/10  epoch 1  1.00 steps/s  200 frames/s  loss 6.00  ctc 3.00  distil 3.00  lr 1.0e-03  ETA 00:00:08",
        "step 4/10  epoch 1  2.00 steps/s  100 frames/s  loss 6.00  ctc 3.00  distil 3.00  lr 1.0e-03  ETA 00:00:03",
    ]


def test_a_step_that_waits_for_data_says_so() -> None:
    assert "  200 frames/s  waits for data 25%  loss 6.00" in shown([step(1, data_wait_s=0.02), step(2, seconds=1.5, frames_per_s=300.0, data_wait_s=0.48)])
    assert "waits" not in shown([step(1, data_wait_s=0.01), step(2, data_wait_s=0.01)])


def test_a_resumed_run_counts_on_and_a_window_holds_its_own_steps_only() -> None:
    lines = shown([step(7), step(8)]).splitlines()
    assert lines[0].startswith("step 8/10")
    assert lines[0].endswith("ETA 00:00:01")


def test_validations_and_messages_are_said_as_they_are() -> None:
    validation = {"kind": "validation", "step": 5, "epoch": 1, "metric": "wer", "scores": {"ensemble": 12.345, "left": 50.0}, "seconds": 2.0}
    text = shown([validation, {"kind": "message", "text": "clip [/bold] and [red]more"}, {"kind": "checkpoint", "step": 5}])
    assert text.splitlines() == ["epoch 2/3  step 5  dev WER %  ensemble 12.3  left 50.0  (2.0 s)", "clip [/bold] and [red]more"]


def test_a_long_line_is_not_broken_in_a_log() -> None:
    assert len(shown([step(2)], width=40).splitlines()) == 1


def test_a_terminal_has_one_live_line_and_keeps_what_is_said() -> None:
    text = shown([step(1), step(2), {"kind": "message", "text": "kept"}, step(4)], terminal=True, width=60)
    assert "step 1/10" in text  # from the first step on
    assert "step 2/10" in text
    assert "kept\n" in text
    assert "\x1b[2K" in text  # the line is drawn anew
    assert "ETA" not in text  # cut at the terminal's width, not wrapped


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00:00"), (59.6, "00:01:00"), (3661, "01:01:01"), (90061, "1 d 01:01:01"), (864000, "10 d 00:00:00")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_grouped() -> None:
    assert grouped(TERMS) == {"loss": 6.0, "ctc": 3.0, "distil": 3.0}
