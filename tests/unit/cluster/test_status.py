"""Where a run stands, by its folder alone."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.spool import Spool, exclusive
from cluster.status import duration, lines, main, status
from cluster.tracking import SPOOL_FOLDER

RECIPE: dict[str, Any] = {
    "data": {"shards": "", "train_split": "train"},
    "train": {"epochs": 3, "batch_size": 4, "num_workers": 2},
    "optim": {"accumulation": 1},
}


def step(number: int, seconds: float = 2.0) -> dict[str, Any]:
    return {"kind": "step", "step": number, "epoch": 0, "terms": {"loss": 1.5}, "seconds": seconds}


def make_run(folder: Path, events: list[dict[str, Any]], *, age_s: float = 3600.0) -> Path:
    """A run's folder as training leaves it, last written to some time ago; 40 training clips."""
    (folder / "checkpoints" / "checkpoint_00000002").mkdir(parents=True)
    shards = folder.parent / "shards"
    shards.mkdir(exist_ok=True)
    (shards / "corpus.json").write_text(json.dumps({"splits": {"train": {"recordings": 40}}}))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "data": {"shards": str(shards), "train_split": "train"}}))
    if events:
        (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"kind": "st')
        os.utime(folder / "events.jsonl", (time.time() - age_s,) * 2)
    return folder


def test_a_stopped_run_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validation = {"kind": "validation", "step": 2, "epoch": 0, "metric": "wer", "scores": {"ensemble": 45.04}, "seconds": 1.0}
    message = {"kind": "message", "text": "resumed from checkpoint_00000001: step 1, epoch 1"}
    folder = make_run(tmp_path / "run", [step(1), message, step(1), step(2, 4.0), validation])
    found = status(folder)
    assert (found.state, found.step, found.steps, found.epoch, found.epochs) == ("stopped", 2, 15, 1, 3)
    assert (found.step_s, found.left_s, found.loss, found.restarts) == (3.0, 39.0, 1.5, 1)
    assert main([str(folder)]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{folder}: stopped, step 2 of 15, epoch 1 of 3"
    assert told[1].startswith("  3 s a step, loss 1.500, 39 s left; last event 1 h 00 min")
    assert told[2:] == [
        "  dev wer %: ensemble 45.0",
        "  newest checkpoint checkpoint_00000002, resumed 1 times, 0 records wait for the tracking server",
        "  | resumed from checkpoint_00000001: step 1, epoch 1",
        f"  → continue with: python workloads/train.py --resume {folder}",
    ]


def test_a_run_that_is_trained_is_well_and_one_that_is_silent_is_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [step(1)])
    with exclusive(folder / "lock", wait=False):
        assert status(folder).state == "silent"
        assert "look at the workers' logs" in status(folder).advice
        os.utime(folder / "events.jsonl")
        assert status(folder).well
    assert status(folder).state == "training", "of another host, whose lock isn't seen"


def test_a_fault_and_an_end(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [step(1)])
    (folder / "fault").write_text("ShardError\nclip 7 is damaged\n")
    assert status(folder).state == "failed"
    assert status(folder).advice.endswith("--resume: ShardError clip 7 is damaged")
    (folder / "ended").touch()
    assert (status(folder).state, status(folder).left_s, status(folder).well) == ("ended", None, True)


def test_members_count_too(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    make_run(folder / "members" / "joint", [step(4)])
    (folder / "ended").touch()
    found = status(folder)
    assert [member.step for member in found.members] == [4]
    assert not found.well
    assert lines(found)[2].startswith(f"  {folder / 'members' / 'joint'}: stopped")


def test_what_the_tracking_server_has_not_got(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    spool = Spool(folder / SPOOL_FOLDER)
    spool.append("tag", {"name": "a"})
    spool.append("tag", {"name": "b"})
    assert status(folder).unsent == 2


def test_a_run_whose_shards_are_elsewhere_has_no_number_of_steps(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [step(1)])
    (tmp_path / "shards" / "corpus.json").unlink()
    assert (status(folder).steps, status(folder).left_s) == (None, None)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is no run: it has no recipe.yaml; give the folder that training names"):
        status(tmp_path)


def test_json_has_every_field(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run", [])
    assert main([str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "not begun"


def test_durations() -> None:
    assert [duration(seconds) for seconds in (5, 65, 3700)] == ["5 s", "1 min 05 s", "1 h 01 min"]
