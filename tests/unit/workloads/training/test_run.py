"""A run from the driver's side: its folder, what it refuses, what it tracks, what it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.ray_cluster import ClusterInfo, free_port
from cluster.spool import exclusive
from cluster.tracking import NullTracker, send
from models.bundle import load_bundle
from models.errors import RecipeError, ShardError, TrainingError
from tests.unit.workloads.tiny_runs import altered_shards, messages, setting_of, tiny_recipe
from workloads.entry import run_entry_point
from workloads.recipe import Recipe, load_recipe
from workloads.shards import ShardSet
from workloads.train import main
from workloads.training import tracked as tracked_module
from workloads.training import workers
from workloads.training.checkpoints import CHECKPOINTS, PREDICTIONS
from workloads.training.events import EVENTS, EventLog
from workloads.training.folders import BUNDLE, named_run, old_run, runs_root
from workloads.training.loop import STOP_FILE, Outcome
from workloads.training.preflight import generate_shards, preflight
from workloads.training.run import new_run, train
from workloads.training.tracked import MetricsListener
from workloads.training.workers import FAILURES, ray_cluster, train_on_ray


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


def started(shards: Path, root: Path, *overrides: str) -> tuple[Recipe, Path]:
    return new_run(tiny_recipe(shards, f"run.root={root}", *overrides))


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


def test_a_stopped_run_is_continued(tiny_shards: Path, tmp_path: Path, tracker: MemoryTracker, monkeypatch: pytest.MonkeyPatch) -> None:
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
    again = train(*old_run(str(folder)))
    assert again.bundle is not None
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


def test_runs_of_the_same_second_have_folders_of_their_own(tiny_shards: Path, tmp_path: Path) -> None:
    folders = [started(tiny_shards, tmp_path)[1] for _ in range(3)]
    assert len(set(folders)) == 3
    assert [old_run(str(folder))[0].run.name for folder in folders] == [folder.name for folder in folders]


def test_a_name_is_given_once(tiny_shards: Path, tmp_path: Path) -> None:
    _, folder = started(tiny_shards, tmp_path, "run.name=mine")
    assert folder == tmp_path / "mine"
    with pytest.raises(RecipeError, match=r"holds a run of that name: continue it with --resume .*mine, or choose another with --set run.name=NAME"):
        started(tiny_shards, tmp_path, "run.name=mine")


def test_a_job_that_is_started_again_continues_the_run_of_its_name(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_shards, f"run.root={tmp_path}", "run.name=mine")
    assert named_run(recipe) is None
    begun, folder = new_run(recipe)
    assert named_run(recipe) == (begun, folder)
    with pytest.raises(RecipeError, match=r"--or-resume finds a run by its name: give one with --set run.name=NAME"):
        named_run(tiny_recipe(tiny_shards))


def test_paths_do_not_depend_on_where_a_run_is_continued(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_shards.parent)
    recipe, folder = new_run(tiny_recipe(Path(tiny_shards.name), "run.root=some/runs", "run.name=r"))
    assert folder == tiny_shards.parent / "some/runs/r"
    assert recipe.data.shards == str(tiny_shards)
    monkeypatch.chdir(tmp_path)
    assert old_run(str(folder))[0] == recipe


def test_missing_shards_leave_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no such folder of shards; make it with preprocess --out"):
        new_run(tiny_recipe(tmp_path / "nowhere", f"run.root={tmp_path}/runs"))
    assert not (tmp_path / "runs").exists()


def test_a_job_keeps_its_runs_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's working directory vanishes with it."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # of the submitter, uploaded with the working directory
    assert runs_root("runs") == tmp_path / "signray" / "runs"
    assert runs_root("/elsewhere/runs") == Path("/elsewhere/runs")


def test_what_may_change_on_resume(tiny_shards: Path, tmp_path: Path) -> None:
    recipe, folder = started(tiny_shards, tmp_path, "run.name=mine")
    changed, _ = old_run("mine", root=str(tmp_path), overrides=["tracking.uri=http://a:1", "train.log_steps=3"])
    assert (changed.tracking.uri, changed.train.log_steps, changed.optim) == ("http://a:1", 3, recipe.optim)
    with pytest.raises(RecipeError, match=r"^--set optim.lr=1: a resumed run keeps its recipe; only tracking\., "):
        old_run(str(folder), overrides=["optim.lr=1"])
    with pytest.raises(RecipeError, match=r"^no run 'mein' under .*; there are: mine; or give the run's folder$"):
        old_run("mein", root=str(tmp_path))
    (folder / "recipe.yaml").write_text("data: [")
    with pytest.raises(RecipeError, match="not YAML"):
        old_run(str(folder))


def changed_clip(row: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**row, **changes} if row["name"].endswith("00007") else row


def test_clips_without_glosses_are_refused(tiny_shards: Path, tmp_path: Path) -> None:
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: changed_clip(row, gloss=None))
    with pytest.raises(TrainingError, match=r"^1 training clips have no glosses: synthetic_train_00007: mska_slr learns from gloss sentences; leave them out"):
        preflight(tiny_recipe(shards), ShardSet.open(shards))


def test_glosses_that_a_clip_has_no_steps_for_are_told(tiny_shards: Path, tmp_path: Path) -> None:
    shards = altered_shards(tiny_shards, tmp_path / "shards", lambda row: changed_clip(row, gloss=["NORD"] * 20))
    [text] = preflight(tiny_recipe(shards), ShardSet.open(shards))
    assert text == "1 training clips have more glosses than time steps; CTC counts nothing for them: synthetic_train_00007"
    assert preflight(tiny_recipe(tiny_shards), ShardSet.open(tiny_shards)) == []


def test_another_number_of_keypoints_is_refused(tiny_shards: Path) -> None:
    recipe = tiny_recipe(tiny_shards, "network={num_keypoints: 75, left: [1], right: [2], face: [3], body: [1, 2, 3]}", "inputs.num_keypoints=75")
    with pytest.raises(RecipeError, match=r"clips of 133 keypoints, mska_slr is set to 75: preprocess with --keypoints 75"):
        preflight(recipe, ShardSet.open(tiny_shards))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_an_unknown_split_is_refused(tiny_shards: Path, split: str) -> None:
    with pytest.raises(ShardError, match="has no split 'tset': its splits are train, dev, test"):
        preflight(tiny_recipe(tiny_shards, f"data.{split}_split=tset"), ShardSet.open(tiny_shards))


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


def fake_connect(**facts: Any) -> Callable[..., Any]:
    @contextmanager
    def connect(**_: Any) -> Any:
        yield ClusterInfo(**{"address": "10.0.0.1:6379", "dashboard_url": None, "num_cpus": 3.0, "num_gpus": 0.0, "private": True, **facts})

    return connect


def test_gpus_that_this_host_lacks_are_refused(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "connect", fake_connect())
    recipe = tiny_recipe(tiny_shards, "train.num_workers=2", "train.gpus_per_worker=1")
    with (
        pytest.raises(RecipeError, match=r"need 2 GPUs, this host has 0: train on CPUs with --set train.gpus_per_worker=0, or set RAY_ADDRESS"),
        ray_cluster(recipe),
    ):
        raise AssertionError("must not be reached")


def test_a_cluster_that_is_too_small_is_waited_for_and_said(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workers, "connect", fake_connect(private=False))
    with ray_cluster(tiny_recipe(tiny_shards, "train.num_workers=3", "train.gpus_per_worker=0.5")):
        pass
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "connected to Ray at 10.0.0.1:6379"
    assert told[1] == "the recipe's workers need 1.5 GPUs, the cluster has 0: waiting until there are more"
    assert told[2].startswith("the recipe's workers and Ray Data need 4 CPUs, the cluster has 3")


def test_generated_shards_of_other_options_ask_for_another_folder(tmp_path: Path) -> None:
    small = "data.synthetic={num_train: 1, num_dev: 1, num_test: 0, num_signer_independent: 0, num_signers: 1, fps: 5}"
    recipe = load_recipe("demo", [f"data.shards={tmp_path / 'shards'}", small])
    generate_shards(recipe)
    with pytest.raises(ShardError, match=r"made with other values of source, settings: remove the folder, or choose another data.shards$"):
        generate_shards(load_recipe("demo", [f"data.shards={tmp_path / 'shards'}", small, "data.synthetic.seed=9"]))


class FailedTrainer:
    def __init__(self, error: Exception | None) -> None:
        self.error, self.return_value = error, None

    def fit(self) -> FailedTrainer:
        if self.error:
            raise self.error
        return self


def test_workers_that_fail_too_often_end_in_one_line(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.exceptions import ActorUnavailableError
    from ray.train import ControllerError, WorkerGroupError

    error = WorkerGroupError("Traceback ...\n  File x\n", {1: RuntimeError("out of memory"), 0: RuntimeError("Traceback\nCUDA error: out of memory\n")})
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(error))
    recipe, folder = started(tiny_shards, tmp_path)
    setting = setting_of(recipe, folder)
    with pytest.raises(TrainingError) as raised:
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    assert str(raised.value) == f"training failed (CUDA error: out of memory): see {folder / FAILURES}, then continue with --resume"
    assert "Traceback" in (folder / FAILURES).read_text()
    controller = ControllerError(ValueError("no node has 9 CPUs"))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(controller))
    with pytest.raises(TrainingError, match=r"^training failed \(no node has 9 CPUs\)"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(ActorUnavailableError("Socket closed", b"1" * 16)))
    with pytest.raises(TrainingError, match=rf"^Ray lost the run \(.*Socket closed.*\): see .*{FAILURES}, then --resume {folder}$"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(controller))
    (folder / "fault").write_text("clip 7: no keypoints")
    assert train_on_ray(recipe, setting, ShardSet.open(tiny_shards)).fault == "clip 7: no keypoints"
    monkeypatch.setattr(workers, "_trainer", lambda *_: FailedTrainer(None))
    with pytest.raises(TrainingError, match="ended without a result"):
        train_on_ray(recipe, setting, ShardSet.open(tiny_shards))


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
