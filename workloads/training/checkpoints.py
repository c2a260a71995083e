"""Checkpoints: what a run is resumed from. Each one says which files belong to it, so that a damaged one is noticed.

They lie in the run's folder, which all workers share, and count as soon as they are whole: Ray's own registration would come a poll of the
controller later, and takes an upload that broke off for a success.

    checkpoint_00000120/
        position.json            step, epoch, scores, number of workers (rank 0)
        weights.safetensors      the whole network in fp32 (rank 0): what becomes the bundle
        step/...                 DeepSpeed's own files: optimiser state, partitioned where ZeRO does
        manifest-<rank>.json     size and SHA-256 of every file of a rank, written last
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.deepspeed_engine import full_state_dict
from models.errors import CheckpointError

CHECKPOINTS = "checkpoints"  # folder of a run that holds them
TAG = "step"
WEIGHTS = "weights.safetensors"
POSITION = "position.json"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands: optimiser steps taken, the epoch and the batches of it that are done.

    wer: dev WER in percent of the head that chooses, None where this checkpoint was not validated; scores: of every head.
    """

    step: int
    epoch: int
    batches_done: int
    world_size: int
    zero_stage: int
    wer: float | None = None
    scores: dict[str, float] = field(default_factory=dict)


def checkpoint_name(step: int) -> str:
    return f"checkpoint_{step:08d}"


def write_checkpoint(folder: Path, engine: Any, position: Position, *, rank: int) -> str | None:
    """Write a checkpoint; every rank must call it. Returns why that failed (a full disk, say), the same on every rank, else None."""
    if rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    problem = _first_problem(None)  # everyone waits for the removal
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_part(folder, engine, position, rank=rank)
    except OSError as error:
        problem = error.strerror or str(error)
    problem = _first_problem(problem)
    if problem and rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return problem


def _write_part(folder: Path, engine: Any, position: Position, *, rank: int) -> None:
    weights = full_state_dict(engine)
    engine.save_checkpoint(str(folder), tag=TAG, client_state={}, save_latest=False)
    if rank == 0:
        save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
        (folder / POSITION).write_text(json.dumps(asdict(position)), encoding="utf-8")
    files = {path.relative_to(folder).as_posix(): _describe(path) for path in sorted(folder.rglob("*")) if _belongs(path, rank)}
    (folder / f"manifest-{rank}.json").write_text(json.dumps({"world_size": position.world_size, "files": files}), encoding="utf-8")


def _belongs(path: Path, rank: int) -> bool:
    """Whether a file of a shared checkpoint is this rank's: DeepSpeed names the parts of other ranks by their number."""
    match = re.search(r"zero_pp_rank_(\d+)_", path.name)
    return path.is_file() and not path.name.startswith("manifest-") and (int(match[1]) if match else 0) == rank


def _first_problem(problem: str | None) -> str | None:
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return problem
    problems: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(problems, problem)
    return next((entry for entry in problems if entry), None)


def prune(folder: Path, *, keep: int) -> None:
    """Remove checkpoints beyond `keep`: the newest whole one and the best by dev WER stay, then the newer ones."""
    newest, best = newest_intact(folder)[0], best_checkpoint(folder)
    kept = {path for path in (newest, best[0] if best else None) if path is not None}
    others = [path for path in checkpoints(folder) if path not in kept]
    for path in others[max(0, keep - len(kept)) :]:
        shutil.rmtree(path, ignore_errors=True)


def read_position(folder: Path) -> Position:
    """Raises CheckpointError where the folder is no intact checkpoint."""
    reason = damage(folder)
    if reason:
        raise CheckpointError(f"{folder}: {reason}")
    return Position(**json.loads((folder / POSITION).read_text(encoding="utf-8")))


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The network's state dict of a checkpoint."""
    return load_file(folder / WEIGHTS)


def damage(folder: Path) -> str | None:
    """Why `folder` is no whole checkpoint, or None."""
    try:
        first = json.loads((folder / "manifest-0.json").read_text(encoding="utf-8"))
        manifests = [first] + [json.loads((folder / f"manifest-{rank}.json").read_text(encoding="utf-8")) for rank in range(1, first["world_size"])]
    except (OSError, ValueError, KeyError) as error:
        return f"not a whole checkpoint ({type(error).__name__})"
    for manifest in manifests:
        for name, record in manifest["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _describe(folder / name) != record:
                return f"{name} is damaged"
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders of a run, newest first."""
    return sorted((path for path in folder.glob("checkpoint_*") if path.is_dir()), reverse=True)


def newest_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint in `folder`, and one line for every newer one that is damaged."""
    complaints = []
    for path in checkpoints(folder):
        reason = damage(path)
        if reason is None:
            return path, complaints
        complaints.append(f"{path.name}: {reason}")
    return None, complaints


def best_checkpoint(folder: Path) -> tuple[Path, Position] | None:
    """The validated checkpoint of lowest dev WER (the latest among equals), or None."""
    scored = [(path, read_position(path)) for path in checkpoints(folder) if damage(path) is None]
    validated = [(path, position) for path, position in scored if position.wer is not None]
    return min(validated, key=lambda entry: (entry[1].wer, -entry[1].step), default=None)


def _describe(path: Path) -> list[int | str]:
    with path.open("rb") as stream:
        return [path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]
