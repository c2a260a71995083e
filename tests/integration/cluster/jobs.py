"""A training that a cluster's tests send off and follow by its folder, and a folder from which batch jobs are submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.environment import REPOSITORY_ROOT
from tests.unit.workloads.tiny_runs import NETWORK
from workloads.training.events import EVENTS

RECIPE = "mska_slr_small"


def values(shards: Path, *more: str) -> list[str]:
    """The arguments of a training whose steps take a tenth of a second."""
    settings = (NETWORK, f"data.shards={shards}", "train.batch_size=1", "optim.lr=1e-5", "tracking.register_as=null", *more)
    return [part for value in settings for part in ("--set", value)]


def told(folder: Path, kind: str = "step") -> list[dict[str, Any]]:
    """What a run has told, in the order of telling; steps that were taken twice are there twice."""
    path = folder / EVENTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    events = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:  # half a line of a writer that is at it, or was killed
            continue
        if event["kind"] == kind:
            events.append(event)
    return events


def reached(folder: Path) -> int:
    """The last step that was told."""
    return max((event["step"] for event in told(folder)), default=0)


def submit_folder(folder: Path) -> Path:
    """A folder like a checkout of the repository, in which a batch script may leave its logs."""
    folder.mkdir()
    for name in ("cluster", "models", "serve", "tune", "workloads", "pyproject.toml"):
        (folder / name).symlink_to(REPOSITORY_ROOT / name)
    return folder
