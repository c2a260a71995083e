"""A notice that a node is taken away: a checkpoint at once, another shortly before, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.deepspeed_engine import single_process_group
from tests.unit.workloads.tiny_runs import messages, setting_of, tiny_recipe
from workloads.shards import ShardSet
from workloads.training import notices
from workloads.training.events import EVENTS, read_events
from workloads.training.loop import run_training
from workloads.training.session import LocalSession


class Told(LocalSession):
    """A session whose node is to be taken away after the second step, and stays after all from the fifth on."""

    answers = iter(())

    def notice(self) -> float | None:
        return next(self.answers, None)


def test_checkpoints_at_the_notice_and_before_its_end(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "EVERY_S", 0.0)
    recipe = tiny_recipe(tiny_shards, "train.epochs=1", "train.batch_size=2")
    session = Told(ShardSet.open(tiny_shards), train_split="train", dev_split="dev")
    session.answers = iter([None, 30.0, 25.0, 11.0, 2.0, None, 30.0])
    with single_process_group():
        assert run_training(recipe, setting_of(recipe, tmp_path), session).finished
    kept = [event["step"] for event in read_events(tmp_path / EVENTS) if event["kind"] == "checkpoint"]
    assert kept == [2, 4, 7, 13]
    assert messages(tmp_path)[0] == "a node of this run is taken away in 30 s: step 2 is kept"


def test_nobody_is_asked_at_every_step(monkeypatch: pytest.MonkeyPatch, tiny_shards: Path) -> None:
    watch = notices.Notices(LocalSession(ShardSet.open(tiny_shards), train_split="train", dev_split="dev"))
    assert not watch.time()
    assert watch.due() is None
