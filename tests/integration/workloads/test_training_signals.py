"""A training that is its own process: told to stop, killed, continued."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.unit.workloads.tiny_runs import NETWORK, assert_same_weights, last_weights, messages, run_loop, tiny_recipe, write_tiny_shards
from workloads.training.events import EVENTS, read_events
from workloads.training.folders import old_run
from workloads.training.run import train

RUN = ("train.epochs=12", "train.batch_size=4", "train.num_workers=0", "train.checkpoint_steps=4", "validation.every_epochs=6", "optim.lr=1e-4")


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "workloads/train.py", *arguments], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end_at(process: subprocess.Popen[str], folder: Path, step: int, number: signal.Signals) -> str:
    """Send the signal as soon as the run has come to a step; what it printed."""
    deadline = time.monotonic() + 100
    while not any(event["kind"] == "step" and event["step"] >= step for event in read_events(folder / EVENTS)):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=100)[0]


@pytest.mark.slow
def test_stopped_then_killed_then_finished_equals_a_run_in_one_piece(tmp_path: Path) -> None:
    """Two starts of Python with torch and DeepSpeed; this process comes to the end."""
    shards, folder = write_tiny_shards(tmp_path / "shards"), tmp_path / "runs" / "cut"
    values = (NETWORK, f"data.shards={shards}", *RUN, f"run.root={folder.parent}", f"run.name={folder.name}")
    first = start("--recipe", "mska_slr_small", *(part for value in values for part in ("--set", value)))
    told = end_at(first, folder, 3, signal.SIGTERM)
    assert first.returncode == 143, told
    assert told.splitlines()[-1].endswith(f"continue with: python workloads/train.py --resume {folder}")
    assert "asked to stop: step" in told

    second = start("--resume", str(folder))
    told = end_at(second, folder, 30, signal.SIGKILL)
    assert second.returncode == -signal.SIGKILL
    assert "resumed from checkpoint_" in told

    assert train(*old_run(str(folder))).bundle is not None
    assert len([text for text in messages(folder) if text.startswith("resumed from")]) == 2
    assert run_loop(tiny_recipe(shards, *RUN), tmp_path / "whole").finished
    assert_same_weights(last_weights(folder), last_weights(tmp_path / "whole"))
