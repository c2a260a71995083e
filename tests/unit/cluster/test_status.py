"""Where a run stands, by its folder alone."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.spool import Spool, exclusive
from cluster.status import NODES_COME_S, duration, lines, main, status
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
        age(folder / "events.jsonl", age_s)
    return folder


def age(path: Path, seconds: float) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


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
        assert status(folder).well, "it has just been resumed"
        age(folder / "lock", 3600)
        assert status(folder).state == "silent"
        assert "look at the workers' logs" in status(folder).advice
        os.utime(folder / "events.jsonl")
        assert status(folder).well
    assert status(folder).state == "stopped", "this host would see its lock"


def test_a_run_of_a_host_whose_lock_is_not_seen_is_not_told_to_be_dead(tmp_path: Path) -> None:
    """A validation, or nodes that are waited for, take minutes without an event."""
    folder = make_run(tmp_path / "run", [step(1)], age_s=30)
    (folder / "lock").write_text("n7")
    age(folder / "lock", 7200)
    assert (status(folder).state, status(folder).advice) == ("training", "")
    for seconds, state in ((300, "training"), (1000, "silent")):
        age(folder / "events.jsonl", seconds)
        found = status(folder)
        assert (found.state, found.well) == (state, state == "training")
        assert re.fullmatch(r"no word for \d+ min \d\d s; if it doesn't run any more on n7, which isn't seen from here, continue with: .*", found.advice)
    (folder / "lock").write_text("")  # as older versions left it
    age(folder / "lock", 7200)
    assert "if it doesn't run any more on another host, continue with" in status(folder).advice
    waits = make_run(tmp_path / "waits", [])
    (waits / "lock").write_text("n7")
    for seconds, state in ((1000, "training"), (3600, "silent")):
        age(waits / "lock", seconds)
        assert status(waits).state == state, "nodes have half an hour to come"


def test_nodes_have_the_time_to_come_that_training_gives_them() -> None:
    from workloads.training import workers

    assert NODES_COME_S == workers.NODES_COME_S


def test_a_run_that_nobody_has_begun(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", [])
    assert (status(folder).state, status(folder).well) == ("not begun", True)
    age(folder / "recipe.yaml", 3600)
    assert (status(folder).state, status(folder).advice) == ("stopped", f"nobody trains it; continue with: python workloads/train.py --resume {folder}")
    with exclusive(folder / "lock", wait=False):
        assert status(folder).state == "training"
    assert status(folder).state == "stopped", "its driver died before the first step"


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
    (folder / "ended").unlink()
    make_run(folder / "members" / "later", [])
    age(folder / "members" / "later" / "recipe.yaml", 7200)
    with exclusive(folder / "lock", wait=False):
        found = status(folder)
        assert [member.state for member in found.members] == ["training", "not begun"], "the ensemble's lock is theirs"
        assert found.well


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
