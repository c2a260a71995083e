"""A training whose shards and run lie in an S3-compatible store: stopped here, continued on another machine, where it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.storage import Place
from cluster.tracking import NullTracker
from models.batch import Batch
from tests.store import Store
from tests.unit.workloads.tiny_runs import CORPUS, messages, tiny_recipe
from workloads.bundles import open_bundle
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.train import main
from workloads.training import tracked
from workloads.training.checkpoints import CHECKPOINTS
from workloads.training.events import EVENTS, read_events
from workloads.training.folders import BUNDLE, old_run
from workloads.training.loop import Training
from workloads.training.run import new_run, train


def stopped(patch: pytest.MonkeyPatch, *, after: int) -> None:
    """Let a training end with this step, as a signal does."""
    step = Training._step

    def stopping(self: Training, batches: Iterator[Batch]) -> tuple[bool, bool]:
        stop, ask = step(self, batches)
        return stop or self.position.step + 1 >= after, ask

    patch.setattr(Training, "_step", stopping)


def test_a_run_goes_on_elsewhere(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """That it comes to the same weights is shown with a real Ray, in `tests/integration/workloads/test_stored_training.py`."""
    monkeypatch.setattr(tracked, "MlflowTracker", lambda *_, **__: NullTracker())
    shards: Any = f"{store.bucket}/shards"
    preprocess(PreprocessOptions(corpus="synthetic", out=Place(shards[5:]), settings={key: str(value) for key, value in CORPUS.items()}), in_this_process)
    recipe, folder = new_run(tiny_recipe(shards, f"run.root={store.bucket}/runs", "run.name=a", "train.epochs=1"))
    place = store.bucket / "runs" / "a"
    with monkeypatch.context() as patch:
        stopped(patch, after=4)
        assert train(recipe, folder).bundle is None
    assert not (place / BUNDLE).exists()
    monkeypatch.setenv("SIGNRAY_WORK", str(tmp_path / "another machine"))
    assert main(["--resume", str(place)]) == 0
    assert f"evaluate it: python workloads/evaluate.py --bundle {place}/{BUNDLE} --shards {shards} --split test" in capsys.readouterr().out
    _, there = old_run(str(place))
    assert there != folder
    assert "resumed from checkpoint_00000004: step 4, epoch 1" in messages(there)
    assert [event["step"] for event in read_events(there / EVENTS) if event["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert open_bundle(f"{place}/{BUNDLE}").checksum == open_bundle(str(there / BUNDLE)).checksum
    assert {name.split("/")[0] for name in (place / CHECKPOINTS).sizes()} == {path.name for path in (there / CHECKPOINTS).iterdir()}
    assert main(["--resume", str(place)]) == 0
    assert f"{place} has come to its end; its bundle is {place}/{BUNDLE}" in capsys.readouterr().out
