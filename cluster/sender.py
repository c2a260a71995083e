"""Sends a spool to MLflow. Whatever is sent twice (a crash between sending and noting it) leaves no duplicate.

Why each record may be sent again: MLflow drops a metric with the same key, timestamp, step and value; parameters, tags and
artifacts are overwritten by themselves; a run is found by the spool's id in its tags, a model version by the record's.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from cluster.spool import Json, Record, SendState, Spool, exclusive

EMBEDDED_FILE = "mlflow.db"  # of the embedded registry, in the folder of the runs
SPOOL_TAG = "spool.id"
CARD = "README.md"  # of a registered folder: what the registry shows of it
# MLflow's limits for one call of `log_batch`.
METRICS_PER_BATCH, PARAMS_PER_BATCH = 1000, 100
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST"}
MOST_UNANSWERED = 60  # where the store of its artifacts is away, which MLflow itself isn't: a quarter of an hour
MOST_FAILURES = 3  # of one record while the server answers: then it is set aside, so that those after it are sent
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # the pages open on runs and metrics, not on traces of language models
_NOISY_LOGGERS = ("alembic", "mlflow", "urllib3.connectionpool")


class Sender:
    """Sends what a spool holds, in order, and notes how far it came. `send` may raise anything that MLflow raises when it is away."""

    def __init__(self, spool: Spool, tracking_uri: str) -> None:
        self.spool = spool
        self.tracking_uri = tracking_uri
        self.state = spool.load_state()
        self._client: Any = None
        self._steps: dict[str, Callable[[Record], None]] = {
            "create": self._create,
            "params": self._params,
            "tags": self._tags,
            "dataset": self._dataset,
            "artifact": self._artifact,
            "register": self._register,
            "status": self._status,
        }

    def pending(self) -> int:
        """Bytes that are not sent yet."""
        return self.spool.size() - self.state.offset

    def send(self) -> None:
        """Send all that is pending; where it fails it goes on the next time."""
        if not self.pending():
            return
        with self.spool.sending():
            self.state = self.spool.load_state()  # another process may have sent meanwhile
            self._client = self._client or connect_client(self.tracking_uri)
            for kind, records in _runs_of_kind(self.spool.read(self.state.offset)):
                if kind == "metrics":
                    self._metrics(records)
                else:
                    self._one(records[0])

    def _one(self, record: Record) -> None:
        step = self._steps.get(record.kind)
        taken = False
        if step is None:
            self.spool.refuse(record.kind, record.content, "unknown kind of record")
        elif record.kind == "create":
            step(record)  # without a run everything after it would be refused, too
        else:
            taken = self._unless_stuck(lambda: step(record), lambda reason: self.spool.refuse(record.kind, record.content, reason))
        self._advance(record.end)
        if taken and record.kind in ("artifact", "register"):
            self.spool.drop(record.content["file"])

    def _unless_stuck(self, action: Callable[[], object], refused: Callable[[str], object]) -> bool:
        """Run an action; returns whether the server took it. `refused` gets the reason where it was declined, or has failed too often.

        Any other error passes: the server is away, or the next attempt may do.
        """
        try:
            return _unless_refused(action, refused)
        except Exception as error:
            if not self._answers():
                raise
            self.state.failures += 1
            self.spool.save_state(self.state)
            if self.state.failures < (MOST_UNANSWERED if is_network_error(error) else MOST_FAILURES):
                raise
            refused(f"{type(error).__name__}: {error}")
            return False

    def _answers(self) -> bool:
        """Whether the server is there at all."""
        try:
            self._client.search_experiments(max_results=1)
        except Exception:
            return False
        return True

    def _advance(self, offset: int) -> None:
        self.state.offset = offset
        self.state.failures = 0
        self.spool.save_state(self.state)

    def _create(self, record: Record) -> None:
        content = record.content
        experiment = _experiment(self._client, content["experiment"], content["artifact_location"] or _artifacts_beside(self.tracking_uri))
        found = self._client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{content['id']}'", max_results=1)
        run = (
            found[0]
            if found
            else self._client.create_run(experiment, start_time=content["time"], run_name=content["name"], tags={**content["tags"], SPOOL_TAG: content["id"]})
        )
        self.state.run_id = run.info.run_id

    def _metrics(self, records: list[Record]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, record.content["time"], record.content["step"]) for record in records for name, value in record.content["values"].items()
        ]
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self._unless_stuck(lambda batch=batch: self._client.log_batch(self.state.run_id, metrics=batch), lambda _, batch=batch: self._metrics_singly(batch))  # type: ignore[misc]
        self._advance(records[-1].end)

    def _metrics_singly(self, metrics: list[Any]) -> None:
        for metric in metrics:
            content = {"values": {metric.key: metric.value}, "step": metric.step, "time": metric.timestamp}
            self._unless_stuck(
                lambda metric=metric: self._client.log_batch(self.state.run_id, metrics=[metric]),  # type: ignore[misc]
                lambda reason, content=content: self.spool.refuse("metrics", content, reason),  # type: ignore[misc]
            )

    def _params(self, record: Record) -> None:
        from mlflow.entities import Param

        for batch in _batches([Param(name, value) for name, value in record.content["values"].items()], PARAMS_PER_BATCH):
            _unless_refused(lambda batch=batch: self._client.log_batch(self.state.run_id, params=batch), lambda _, batch=batch: self._params_singly(batch))  # type: ignore[misc]

    def _params_singly(self, params: list[Any]) -> None:
        """A parameter can't change in MLflow: the new value of a resumed run becomes a tag."""
        from mlflow.entities import Param

        for param in params:
            _unless_refused(
                lambda param=param: self._client.log_batch(self.state.run_id, params=[Param(param.key, param.value)]),  # type: ignore[misc]
                lambda _, param=param: self._client.set_tag(self.state.run_id, f"changed.{param.key}", param.value),  # type: ignore[misc]
            )

    def _tags(self, record: Record) -> None:
        for name, value in record.content["values"].items():
            self._client.set_tag(self.state.run_id, name, value)

    def _dataset(self, record: Record) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        content = record.content
        source = json.dumps({"uri": content["source"]})
        dataset = Dataset(name=content["name"], digest=content["digest"], source_type="local", source=source, profile=json.dumps(content["profile"]))
        self._client.log_inputs(self.state.run_id, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def _artifact(self, record: Record) -> None:
        kept, folder = record.content["file"], record.content["folder"]
        if (self.spool.folder / kept).is_dir():
            folder = "/".join(filter(None, [folder, Path(kept).name]))
        self._upload(kept, folder)

    def _upload(self, kept: str, folder: str) -> None:
        path = self.spool.folder / kept
        if not path.exists():
            return  # dropped after it was sent: the note of that was lost
        if path.is_dir():
            self._client.log_artifacts(self.state.run_id, str(path), folder or None)
        else:
            self._client.log_artifact(self.state.run_id, str(path), folder or None)

    def _register(self, record: Record) -> None:
        from cluster.registry import create_version

        self._upload(record.content["file"], record.content["folder"])
        assert self.state.run_id is not None
        identity = f"{self.state.run_id}:{record.begin}"
        card = self.spool.folder / record.content["file"] / CARD
        description = card.read_text(encoding="utf-8") if card.is_file() else None
        self.state.versions[str(record.begin)] = create_version(self._client, self.state.run_id, identity, record.content, description)

    def _status(self, record: Record) -> None:
        if record.content["status"] == "RUNNING":
            self._client.update_run(self.state.run_id, status="RUNNING")
        else:
            self._client.set_terminated(self.state.run_id, record.content["status"], end_time=record.content["time"])


def connect_client(tracking_uri: str) -> Any:
    """An MLflow client of the store; the first use of a fresh SQLite file creates its tables, one process at a time."""
    from mlflow import MlflowClient

    for name in _NOISY_LOGGERS:  # table creation, progress, and a line for each refused connection; what matters is told by the tracker
        logging.getLogger(name).setLevel(logging.ERROR)
    with store_lock(tracking_uri):
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_experiments(max_results=1)
    return client


def store_lock(tracking_uri: str) -> AbstractContextManager[None]:
    """Among processes that use one SQLite file: the table creation of two at once fails in one of them."""
    if not tracking_uri.startswith("sqlite:///"):
        return nullcontext()
    file = Path(tracking_uri.removeprefix("sqlite:///"))
    return exclusive(file.with_name(file.name + ".lock"), wait=True)


def _experiment(client: Any, name: str, artifact_location: str | None) -> str:
    """Id of the experiment, created where it isn't there (with its own artifact location for SQLite: the default is relative to the working directory)."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location, tags=_KIND))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another run was quicker
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _artifacts_beside(tracking_uri: str) -> str | None:
    """Where artifacts of an SQLite store lie that a run didn't begin with (it is sent there later); None: a server has its own place."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    return (Path(tracking_uri.removeprefix("sqlite:///")).resolve().parent / "artifacts").as_uri()


def _unless_refused(action: Callable[[], object], refused: Callable[[str], object]) -> bool:
    """Run an action; call `refused` with the reason, and return False, when the server understood and declined it. Other errors pass."""
    from mlflow.exceptions import MlflowException

    try:
        action()
    except MlflowException as error:
        if error.error_code not in _REFUSED:
            raise
        refused(str(error))
    except FileNotFoundError as error:
        refused(f"{error.filename}: no such file")
    else:
        return True
    return False


def is_network_error(error: BaseException | None) -> bool:
    """Whether nothing was answered at all: to requests, or to boto3, whose errors have this base."""
    while error is not None:
        if {kind.__name__ for kind in type(error).__mro__} & {"HTTPClientError", "ConnectionError", "Timeout", "TimeoutError"}:
            return True
        error = error.__cause__ or error.__context__
    return False


def _runs_of_kind(records: Iterable[Record]) -> Iterator[tuple[str, list[Record]]]:
    """Consecutive metrics together, up to a batch; every other record alone."""
    group: list[Record] = []
    count = 0
    for record in records:
        if record.kind == "metrics" and count + len(record.content["values"]) <= METRICS_PER_BATCH:
            group.append(record)
            count += len(record.content["values"])
            continue
        if group:
            yield "metrics", group
        group, count = ([record], len(record.content["values"])) if record.kind == "metrics" else ([], 0)
        if record.kind != "metrics":
            yield record.kind, [record]
    if group:
        yield "metrics", group


def _batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def embedded_uri(store: Path) -> str:
    """URI of the SQLite store below a folder."""
    return f"sqlite:///{store.resolve() / EMBEDDED_FILE}"


def resolve_uri(tracking_uri: str | None, store: Path) -> str:
    """The given URI, else MLFLOW_TRACKING_URI, else SQLite below `store`."""
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or embedded_uri(store)


__all__ = [
    "EMBEDDED_FILE",
    "METRICS_PER_BATCH",
    "PARAMS_PER_BATCH",
    "SPOOL_TAG",
    "Json",
    "SendState",
    "Sender",
    "connect_client",
    "embedded_uri",
    "resolve_uri",
    "store_lock",
]
