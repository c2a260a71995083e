"""The spool and its sending, with the embedded SQLite store."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.registry import resolve
from cluster.sender import Sender, connect_client, embedded_uri
from cluster.spool import Spool
from cluster.tracking import MlflowTracker, NullTracker, SpoolTracker, Tracker, main, send


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that all tests of this file share: creating its tables takes seconds. Its path has a blank, as users' paths do."""
    return tmp_path_factory.mktemp("all runs")


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def tracker(store: Path, tmp_path: Path, messages: list[str]) -> Iterator[MlflowTracker]:
    made = MlflowTracker(tmp_path / "run", experiment="signs", store=store, notify=messages.append, interval_s=60)
    yield made
    made.close()


@pytest.fixture
def client(store: Path) -> Any:
    return connect_client(embedded_uri(store))


def points(client: Any, run_id: str | None, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def test_a_run_arrives_whole(tracker: MlflowTracker, client: Any, store: Path, tmp_path: Path, messages: list[str]) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "wer.png").write_bytes(b"png")
    tracker.log_params({f"option.{number}": number for number in range(250)})
    for step in range(1300):
        tracker.log_metrics({"loss": 1 / (step + 1)}, step=step)
    tracker.set_tags({"corpus": "synthetic"})
    tracker.log_dataset("phoenix2014t", digest="0123456789abcdef" * 4, source="/data/shards", profile={"recordings_train": 7096})
    tracker.log_artifact(tmp_path / "plots" / "wer.png", "plots")
    tracker.log_artifact(tmp_path / "plots")
    tracker.log_text("name: demo", "recipe.yaml")
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert len(run.data.params) == 250
    assert run.data.tags["corpus"] == "synthetic"
    (learned,) = run.inputs.dataset_inputs
    assert (learned.dataset.name, learned.dataset.digest, learned.tags[0].value) == ("phoenix2014t", ("0123456789abcdef" * 4)[:36], "training")
    assert json.loads(learned.dataset.profile) == {"recordings_train": 7096}
    assert points(client, tracker.run_id, "loss") == [(step, 1 / (step + 1)) for step in range(1300)]
    assert run.info.artifact_uri.startswith((store / "artifacts").as_uri())
    assert sorted(item.path for item in client.list_artifacts(tracker.run_id)) == ["plots", "recipe.yaml"]
    assert not messages
    assert not list((tmp_path / "run" / "tracking" / "files").glob("*"))


def test_sending_twice_adds_nothing(tracker: MlflowTracker, client: Any, tmp_path: Path) -> None:
    """A crash between sending and noting it: the state is that of before."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_text("w")
    tracker.log_metrics({"loss": 1.0, "wer": float("nan")}, step=1)
    tracker.log_text("a", "a.txt")
    tracker.log_dataset("signs", digest="0" * 64, source="/data", profile={})
    version = tracker.register(tmp_path / "bundle", name="twice")
    run_id = tracker.run_id
    spool = Spool(tmp_path / "run" / "tracking")
    spool.state_file.unlink()
    Sender(spool, tracker.tracking_uri).send()
    assert spool.load_state().run_id == run_id
    assert points(client, run_id, "loss") == [(1, 1.0)]
    assert [math.isnan(value) for _, value in points(client, run_id, "wer")] == [True]
    assert [item.path for item in client.list_artifacts(run_id)] == ["a.txt", "bundle"]
    assert [int(found.version) for found in client.search_model_versions("name = 'twice'")] == [version]
    assert len(client.get_run(run_id).inputs.dataset_inputs) == 1


def test_non_finite_metrics_arrive(tracker: MlflowTracker, client: Any) -> None:
    tracker.log_metrics({"nan": float("nan"), "up": float("inf"), "down": float("-inf")}, step=0)
    assert tracker.flush(force=True)
    assert math.isnan(points(client, tracker.run_id, "nan")[0][1])
    assert points(client, tracker.run_id, "up")[0][1] > 1e308
    assert points(client, tracker.run_id, "down")[0][1] < -1e308


def test_names_and_lengths_beyond_mlflows_limits(tracker: MlflowTracker, client: Any, messages: list[str]) -> None:
    tracker.log_params({"glosses": "HAUS " * 2000, "wer@1 %": 3})
    tracker.log_metrics({"wer@1": 2.0, "x" * 300: 1.0}, step=0)
    tracker.set_tags({"note": "n" * 9000})
    assert tracker.flush(force=True)
    run = client.get_run(tracker.run_id)
    assert run.data.params["glosses"].endswith("…")
    assert run.data.params["wer_1 _"] == "3"
    assert run.data.metrics == {"wer_1": 2.0, "x" * 250: 1.0}
    assert [item.path for item in client.list_artifacts(tracker.run_id, "params")] == ["params/glosses.txt"]
    assert not messages


def test_a_resumed_run_is_the_same_run(tracker: MlflowTracker, client: Any, store: Path, tmp_path: Path) -> None:
    tracker.log_params({"lr": 0.1})
    tracker.log_metrics({"loss": 3.0}, step=1)
    tracker.log_metrics({"loss": 2.0}, step=2)
    tracker.close("KILLED")
    assert client.get_run(tracker.run_id).info.status == "KILLED"
    again = MlflowTracker(tmp_path / "run", experiment="signs", store=store)
    again.log_params({"lr": 0.2})
    again.log_metrics({"loss": 2.0}, step=2)  # done again after the last checkpoint
    again.log_metrics({"loss": 1.0}, step=3)
    again.close()
    assert again.run_id == tracker.run_id
    run = client.get_run(again.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.1"
    assert run.data.tags["changed.lr"] == "0.2"
    assert points(client, again.run_id, "loss") == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_worker_writes_and_the_driver_sends(tracker: MlflowTracker, client: Any, tmp_path: Path) -> None:
    worker = SpoolTracker(tmp_path / "run")
    worker.log_metrics({"loss": 1.5}, step=0)
    assert tracker.flush(force=True)
    assert worker.flush()
    assert points(client, tracker.run_id, "loss") == [(0, 1.5)]


def test_registry_follows_the_alias(tracker: MlflowTracker, client: Any, store: Path, tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "weights").write_text(text)
        (tmp_path / text / "README.md").write_text(f"# Card {text}\n" + "x" * 6000)
    assert tracker.register(tmp_path / "one", name="mska", alias="champion", tags={"wer": "21.0"}) == 1
    assert client.get_model_version("mska", "1").tags["wer"] == "21.0"
    assert client.get_model_version("mska", "1").description.startswith("# Card one\n")
    uri = embedded_uri(store)
    assert (resolve("models:/mska@champion", tracking_uri=uri) / "weights").read_text() == "one"
    late = MlflowTracker(tmp_path / "late", experiment="signs", store=store)
    assert late.register(tmp_path / "two", name="mska", alias="champion") == 2
    late.close()
    assert client.get_registered_model("mska").description.startswith("# Card two\n"), "the newest card is the model's"
    assert (resolve("models:/mska@champion", tracking_uri=uri, destination=tmp_path / "download") / "weights").read_text() == "two"
    assert resolve(str(tmp_path), tracking_uri=uri) == tmp_path
    for missing in ("models:/mska@nobody", "models:/nothing@champion", "models:/mska/9"):
        with pytest.raises(LookupError, match="is not in the registry"):
            resolve(missing, tracking_uri=uri)


def test_an_alias_sent_late_takes_nothing_back(tracker: MlflowTracker, client: Any, store: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_text("w")
    earlier = SpoolTracker(tmp_path / "run")
    with tracker.spool.sending():  # nothing is sent meanwhile
        earlier.register(tmp_path / "bundle", name="dsta", alias="champion")
        later = MlflowTracker(tmp_path / "later", experiment="signs", store=store)
        assert later.register(tmp_path / "bundle", name="dsta", alias="champion") == 1
        later.close()
    assert tracker.flush(force=True)
    assert client.get_model_version_by_alias("dsta", "champion").run_id == later.run_id
    assert len(client.search_model_versions("name = 'dsta'")) == 2


def test_a_missing_artifact_is_said_and_ends_nothing(tracker: MlflowTracker, tmp_path: Path, messages: list[str]) -> None:
    tracker.log_artifact(tmp_path / "nothing.png")
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert tracker.flush(force=True)
    assert [message for message in messages if "nothing.png" in message]


def test_what_the_server_never_takes_is_set_aside_and_can_be_sent_again(tracker: MlflowTracker, client: Any, tmp_path: Path, messages: list[str]) -> None:
    """A model's name that MLflow refuses: the bundle stays in the run's folder, what comes after it arrives."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights").write_bytes(b"w")
    assert tracker.register(tmp_path / "bundle", name="sign:s/2") is None
    tracker.log_metrics({"loss": 1.0}, step=3)
    tracker.close()
    assert points(client, tracker.run_id, "loss") == [(3, 1.0)]
    [refused] = tracker.spool.refused()
    assert (refused["kind"], refused["name"], (tracker.spool.folder / refused["file"] / "weights").read_bytes()) == ("register", "sign:s/2", b"w")
    [told] = messages
    assert "refused 1 records" in told
    assert told.endswith(f"send {tmp_path / 'run'} --again")
    assert main(["send", str(tmp_path / "run"), "--again"]) == 1
    assert [record["file"] for record in tracker.spool.refused()] == [refused["file"]]


def test_a_record_that_fails_for_ever_holds_nothing_up(tracker: MlflowTracker, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert tracker.flush(force=True)
    tracker.close()
    spool = tracker.spool
    spool.append("tags", {"values": {"note": None}, "time": 1})  # such a record fails in MLflow's database, not by a refusal
    spool.append("metrics", {"values": {"loss": 2.0, "slow": "no number"}, "step": 1, "time": 1})
    spool.append("tags", {"values": {"after": "it"}, "time": 1})
    assert main(["send", str(tmp_path / "run")]) == 1
    assert "records of" in capsys.readouterr().err
    assert client.get_run(tracker.run_id).data.tags["after"] == "it"
    assert sorted(points(client, tracker.run_id, "loss")) == [(0, 1.0), (1, 2.0)]
    assert {record["kind"] for record in spool.refused()} <= {"tags", "metrics"}
    assert (spool.load_state().offset, spool.load_state().failures) == (spool.size(), 0)


def test_a_run_that_was_deleted_is_no_server_that_is_away(tracker: MlflowTracker, client: Any, messages: list[str]) -> None:
    tracker.log_metrics({"loss": 1.0}, step=0)
    assert tracker.flush(force=True)
    client._tracking_client.store._hard_delete_run(tracker.run_id)
    tracker.log_metrics({"loss": 0.5}, step=1)
    tracker.close()
    assert {"kind": "metrics", "values": {"loss": 0.5}, "step": 1}.items() <= tracker.spool.refused()[0].items()
    assert len(messages) == 1
    assert "refused" in messages[0]


def test_a_full_disk_is_said_once_and_ends_nothing(tracker: MlflowTracker, messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Spool, "append", full)
        tracker.log_metrics({"loss": 1.0}, step=0)
        tracker.log_metrics({"loss": 1.0}, step=1)
    assert len(messages) == 1
    assert "No space left on device" in messages[0]


def test_the_command_needs_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["send", str(tmp_path)]) == 1
    assert "holds no records" in capsys.readouterr().err


def test_the_command_leaves_a_run_that_is_being_sent(tracker: MlflowTracker, tmp_path: Path) -> None:
    with tracker.spool.sending():
        tracker.log_metrics({"loss": 1.0}, step=0)
        with pytest.raises(BlockingIOError, match="being sent by another process"):
            send(tmp_path / "run")


def test_the_null_tracker_does_nothing(tmp_path: Path) -> None:
    tracker: Tracker = NullTracker()
    tracker.log_metrics({"loss": 1.0}, step=0)
    tracker.log_artifact(tmp_path / "nothing")
    assert tracker.register(tmp_path, name="x") is None
    assert tracker.flush()
    tracker.close()
