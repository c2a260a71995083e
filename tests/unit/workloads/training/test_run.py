"""A run from the driver's side: what it tracks, what it leaves, what its command says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_cluster import free_port
from cluster.spool import exclusive
from cluster.tracking import NullTracker, send
from models.bundle import load_bundle
from models.errors import ShardError, TrainingError
from tests.unit.workloads.tiny_runs import altered_shards, messages, started, tiny_recipe
from workloads.entry import run_entry_point
from workloads.recipe import load_recipe
from workloads.train import main
from workloads.training import tracked as tracked_module
from workloads.training.checkpoints import CHECKPOINTS, PREDICTIONS
from workloads.training.events import EVENTS, EventLog
from workloads.training.folders import BUNDLE, old_run
from workloads.training.loop import STOP_FILE, Outcome
from workloads.training.run import train
from workloads.training.tracked import MetricsListener


class MemoryTracker(NullTracker):
    """Keeps what is logged, in the place of MLflow's tracker."""

    def __init__(self, run_dir: Path | None = None, **settings: Any) -> None:
        self.settings, self.metrics, self.artifacts, self.status = settings, list[tuple[int, dict[str, float]]](), list[str](), ""

    def log_metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.metrics.append((step, dict(values)))

    def log_artifact(self, path: Path, folder: str = "") -> None:
        assert path.exists()
        self.artifacts.append(path.name)

    def close(self, status: Any = "FINISHED") -> None:
        self.status = status


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> MemoryTracker:
    """The tracker of the run that the test makes."""
    kept = MemoryTracker()
    monkeypatch.setattr(tracked_module, "MlflowTracker", lambda *_, **settings: kept)
    return kept


def test_a_run_leaves_a_bundle_plots_and_its_recipe(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = started(tiny_shards, tmp_path, "train.log_steps=6")
    result = train(recipe, folder)
    assert (result.exit_code, result.outcome) == (0, Outcome(step=12, finished=True))
    assert result.bundle is not None
    bundle = load_bundle(folder / BUNDLE)
    assert bundle.metrics["dev_wer"] == result.dev_scores
    assert old_run(str(folder))[0] == recipe
    assert {"recipe.yaml", "provenance.json", "losses.png", "wer.png", "lengths.png", PREDICTIONS, BUNDLE} <= set(tracker.artifacts)
    assert tracker.status == "FINISHED"
    assert [step for step, values in tracker.metrics if "loss/loss" in values] == list(range(1, 13))
    assert [step for step, values in tracker.metrics if "dev_wer/ensemble" in values] == [6, 12]
    told = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in told] == ["step 6/12", "epoch 1/2", "step 12/12", "epoch 2/2"]


def test_a_run_whose_tracking_server_is_away_is_sent_later(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Takes some seconds: MLflow creates its tables."""
    from mlflow import MlflowClient

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # where a store of its own must leave nothing
    overrides = ("train.epochs=1", f"tracking.uri=http://127.0.0.1:{free_port()}", "tracking.register_as=tiny", "tracking.alias=candidate")
    recipe, folder = started(tiny_shards, tmp_path, *overrides)
    result = train(recipe, folder)
    assert result.bundle is not None
    assert result.version is None
    told = capsys.readouterr().out
    assert "is away" in told
    assert f"python -m cluster.tracking send {folder}" in told
    store = f"sqlite:///{tmp_path}/later.db"
    client = MlflowClient(store, store)
    run = client.get_run(send(folder, store))
    assert run.info.status == "FINISHED"
    assert run.data.params["optim.lr"] == "0.001"
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss/loss")] == list(range(1, 7))
    assert {entry.path for entry in client.list_artifacts(run.info.run_id)} >= {"recipe.yaml", "plots", "bundle"}
    assert client.get_model_version_by_alias("tiny", "candidate").run_id == run.info.run_id
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stopped_run_is_continued(
    tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, folder = started(tiny_shards, tmp_path)
    real = EventLog.write

    def write(self: EventLog, kind: str, **values: Any) -> None:
        real(self, kind, **values)
        if kind == "step" and values["step"] == 2:
            (folder / STOP_FILE).touch()

    with monkeypatch.context() as patch:
        patch.setattr(EventLog, "write", write)
        result = train(recipe, folder)
    assert result.bundle is None
    assert not result.outcome.finished
    assert tracker.status == "KILLED"
    assert command_line("--resume", str(folder)) == 0
    assert f"\nbundle: {folder}/bundle\n" in capsys.readouterr().out
    assert "dev_wer" in load_bundle(folder / BUNDLE).metrics
    assert tracker.status == "FINISHED"


def test_a_fault_is_the_runs_error(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker) -> None:
    recipe, folder = started(tiny_shards, tmp_path, "train.batch_size=27")
    with pytest.raises(TrainingError, match="26 training clips per worker don't fill one step of 27"):
        train(recipe, folder)
    assert tracker.status == "FAILED"
    assert not (folder / BUNDLE).exists()


def test_a_disk_that_stays_full_leaves_no_bundle_and_says_so(
    tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    recipe, folder = started(tiny_shards, tmp_path, "train.epochs=1")
    monkeypatch.setattr("workloads.training.checkpoints.save_file", full)
    with pytest.raises(TrainingError, match="no checkpoint could be written, so there is no bundle: make room and --resume the run"):
        train(recipe, folder)
    assert "could not be written (No space left on device)" in messages(folder)[0]


def test_two_drivers_do_not_train_one_run(tiny_shards: Path, tmp_path: Path) -> None:
    recipe, folder = started(tiny_shards, tmp_path)
    with exclusive(folder / "lock", wait=False), pytest.raises(TrainingError, match="is being trained by another process"):
        train(recipe, folder)


def step(number: int) -> dict[str, Any]:
    return {"step": number, "terms": {"loss": 1.0 / number}, "lr": 0.1, "frames_per_s": 2.0, "seconds": 0.5}


def test_what_a_killed_driver_did_not_log_is_logged_on_resume(tmp_path: Path) -> None:
    from cluster.tracking import SpoolTracker

    log = EventLog(tmp_path / EVENTS)
    for number in range(1, 5):
        log.write("step", **step(number))
    log.write("validation", step=4, epoch=0, metric="wer", scores={"ensemble": 50.0})
    log.close()
    first = MetricsListener(SpoolTracker(tmp_path), tmp_path / "fresh")  # a driver that came to step 2 before it was killed
    for number in (1, 2):
        first({"kind": "step", **step(number)})
    tracker = MemoryTracker()
    second = MetricsListener(tracker, tmp_path)
    assert [number for number, _ in tracker.metrics] == [3, 4, 4]
    for number in (3, 4, 5):  # the resumed run takes two of them again
        second({"kind": "step", **step(number)})
    assert [number for number, _ in tracker.metrics] == [3, 4, 4, 5]
    assert tracker.metrics[-1][1] == {"loss/loss": 0.2, "lr": 0.1, "frames_per_s": 2.0, "seconds": 0.5}


def command_line(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_entry_point(lambda: main(list(arguments)))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_command_line(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(json.dumps(tiny_recipe(tiny_shards, "train.epochs=1").dump()))
    assert command_line("--recipe", str(recipe), "--set", f"run.root={tmp_path}/runs", "--set", "run.name=cli") == 0
    told = capsys.readouterr().out
    folder = tmp_path / "runs" / "cli"
    assert told.startswith(f"run {folder}\n")
    assert f"bundle: {folder}/bundle\nevaluate it: python workloads/evaluate.py --bundle {folder}/bundle --shards {tiny_shards} --split test" in told
    assert command_line("--resume", str(folder)) == 0
    assert capsys.readouterr().out == f"{folder} has come to its end; its bundle is {folder}/bundle\n"
    assert command_line("--resume", str(folder), "--print-recipe") == 0
    assert "recipe: mska_slr_small" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipe", "mska_slr_small", "--set", "data.shards=nowhere"), "nowhere: no such folder of shards; make it with preprocess --out\n"),
        (("--recipe", "mska_slr_smal"), "error: no recipe 'mska_slr_smal' (did you mean 'mska_slr_small'?)"),
        (("--recipe", "mska_slr_small", "--set", "train.epoch=3"), "error: mska_slr_small.yaml: unknown key 'train.epoch' (did you mean 'epochs'?)"),
        (("--resume", "nothing/such"), "error: no run 'nothing/such' under "),
    ],
)
def test_a_users_mistake_exits_with_2(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(*arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_shard_that_was_cut_exits_with_2(tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: row)
    [part] = (shards / "train").iterdir()
    part.write_bytes(part.read_bytes()[:-100])
    assert command_line("--recipe", "mska_slr_small", "--set", f"data.shards={shards}", "--set", f"run.root={tmp_path}") == 2
    assert "the shards are damaged; run preprocess again" in capsys.readouterr().err


def test_a_shard_of_other_bytes_is_an_error_of_the_run(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker) -> None:
    """Of the right size, so that only reading it shows the damage."""
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: row)
    recipe, folder = started(shards, tmp_path)
    [part] = (shards / "train").iterdir()
    content = bytearray(part.read_bytes())
    content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
    part.write_bytes(content)
    with pytest.raises((TrainingError, ShardError), match="truncated or damaged"):
        train(recipe, folder)


def test_the_demo_recipe_is_there() -> None:
    assert load_recipe("demo").train.num_workers == 2


def test_no_checkpoint_folder_is_left_half(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker) -> None:
    recipe, folder = started(tiny_shards, tmp_path, "train.epochs=1")
    train(recipe, folder)
    assert [path.name for path in (folder / CHECKPOINTS).iterdir()] == ["checkpoint_00000006"]
