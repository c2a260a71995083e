"""A run in MLflow: what it is, its numbers as they come, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cluster.provenance import provenance
from cluster.spool import Spool
from cluster.storage import is_uri
from cluster.tracking import SPOOL_FOLDER, MlflowTracker, Tracker
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, Event, read_events
from workloads.training.folders import RECIPE, ended

RATES = ("lr", "frames_per_s", "seconds", "data_wait_s", "gradient_norm")


class MetricsListener:
    """Sends the numbers of events to the tracker, beginning with those of the run's folder that a killed driver didn't get to log.

    Steps that a resumed run takes again were logged before.
    """

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self._tracker = tracker
        self._logged = last_logged_step(folder)
        for event in read_events(folder / EVENTS):
            self(event)

    def __call__(self, event: Event) -> None:
        if event["kind"] == "step" and event["step"] > self._logged:
            self._logged = event["step"]
            rates: dict[str, float] = {key: event[key] for key in RATES if key in event}
            self._tracker.log_metrics({**{f"loss/{name}": value for name, value in event["terms"].items()}, **rates}, step=event["step"])
        elif event["kind"] == "validation":
            figures = {f"dev_{event['metric']}/{head}": value for head, value in event["scores"].items()}
            self._tracker.log_metrics(figures | {f"dev/{name}": value for name, value in event.get("beside", {}).items()}, step=event["step"])


def last_logged_step(folder: Path) -> int:
    """The last training step that the run's tracker was told of; 0 before the first."""
    records = Spool(folder / SPOOL_FOLDER).read()
    return max((record.content["step"] for record in records if record.kind == "metrics" and "loss/loss" in record.content["values"]), default=0)


@contextmanager
def tracked(recipe: Recipe, folder: Path, shards: ShardSet, *, store: Path | None = None, tags: Mapping[str, str] | None = None) -> Iterator[MlflowTracker]:
    """The run's tracker, told what the run is; ended with the run's status. store: folder of an embedded server's file, the runs' root by default."""
    tracker = MlflowTracker(
        folder,
        experiment=recipe.tracking.experiment,
        run_name=(tags or {}).get("mlflow.runName", folder.name),
        tracking_uri=recipe.tracking.uri,
        store=store,
        artifacts=artifacts_place(recipe),
        tags={**(tags or {}), "signray.system": recipe.system, "signray.recipe": recipe.recipe, "signray.shards": shards.checksum},
        notify=lambda text: print(text, flush=True),
    )
    tracker.log_params(flat(recipe.dump()))
    log_shards(tracker, shards)
    tracker.log_artifact(folder / RECIPE)
    (folder / "provenance.json").write_text(json.dumps(provenance(), indent=1, default=str) + "\n", encoding="utf-8")
    tracker.log_artifact(folder / "provenance.json")
    try:
        yield tracker
    except BaseException:
        tracker.close("FAILED")
        raise
    else:
        tracker.close("FINISHED" if ended(folder) else "KILLED")


def artifacts_place(recipe: Recipe) -> str | None:
    """Where the embedded server puts artifacts of runs that lie in a store: beside them, where the extra `storage` is installed; None: on this machine."""
    return f"{recipe.run.root}/artifacts" if is_uri(recipe.run.root) and find_spec("boto3") else None


def log_shards(tracker: Tracker, shards: ShardSet) -> None:
    """The shards as MLflow's dataset: corpus, checksum, recordings of each split."""
    recordings = {f"recordings_{name}": split.recordings for name, split in shards.corpus.splits.items()}
    tracker.log_dataset(shards.corpus.corpus, digest=shards.checksum, source=str(shards.path), profile=recordings)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return result
