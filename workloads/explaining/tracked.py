"""Pictures of an explanation among the artifacts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cluster.tracking import SPOOL_FOLDER, SpoolTracker, send, send_command
from models.errors import RecipeError

ARTIFACTS = "explanations"


def tracked_run(folder: Path) -> Path:
    """The folder of a run whose tracking can be added to. Raises RecipeError for a folder that is none."""
    if not (folder / SPOOL_FOLDER / "records.jsonl").is_file():
        raise RecipeError(f"--run {folder}: no tracked run: give the folder that training names, with {SPOOL_FOLDER}/ in it")
    return folder


def log_files(run: Path, files: Sequence[Path]) -> str:
    """Log files to the run's spool and send them; returns what came of it, one line. Nothing is lost where MLflow is away."""
    tracker = SpoolTracker(run)
    for file in files:
        tracker.log_artifact(file, ARTIFACTS)
    try:
        return f"logged to run {send(run)}, in {ARTIFACTS}/"
    except BlockingIOError:
        return f"logged to {run}, whose training sends it to MLflow"
    except OSError as error:
        return f"logged to {run}, and not sent yet ({error}): {send_command(run)}"
