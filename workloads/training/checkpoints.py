"""Checkpoints: what a run is resumed from. Each one says which files belong to it, so that a damaged one is noticed.

They lie in the run's folder, which all workers share, and count as soon as they are whole: Ray's own registration would come a poll of the
controller later, and takes an upload that broke off for a success.

    checkpoint_00000120/
        position.json            step, epoch, scores, number of workers (rank 0)
        dev_predictions.jsonl    what each head recognised in each dev clip, where it was validated (rank 0)
        weights.safetensors      the whole network in fp32 (rank 0): what becomes the bundle
        step/...                 DeepSpeed's own files: optimiser state, partitioned where ZeRO does
        manifest-<rank>.json     size and SHA-256 of every file of a rank, written last
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.deepspeed_engine import full_state_dict
from models.errors import CheckpointError

CHECKPOINTS = "checkpoints"  # folder of a run that holds them
STAGING = "writing_"  # prefix of one that isn't whole yet
TAG = "step"
WEIGHTS = "weights.safetensors"
POSITION = "position.json"
PREDICTIONS = "dev_predictions.jsonl"


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run stands: optimiser steps taken, the epoch and the batches of it that are done.

    error: what chooses the best, in percent: dev WER, or 100 − top-1; None where this checkpoint was not validated.
    scores: of every head, by the task's metric.
    """

    step: int
    epoch: int
    batches_done: int
    world_size: int
    zero_stage: int
    error: float | None = None
    scores: dict[str, float] = field(default_factory=dict)


def checkpoint_name(step: int) -> str:
    return f"checkpoint_{step:08d}"


def write_checkpoint(folder: Path, engine: Any, position: Position, *, rank: int, documents: Mapping[str, str] | None = None) -> str | None:
    """Write a checkpoint; every rank must call it. Returns why that failed (a full disk, say), the same on every rank, else None.

    documents: texts that travel with it, by file name. It is written beside and renamed at the end, so that an older one of the same step
    stays until the new one is whole.
    """
    staging = folder.with_name(STAGING + folder.name)
    if rank == 0:
        shutil.rmtree(staging, ignore_errors=True)
    _first_problem(None)  # everyone waits for the removal
    problem = _first_problem(_write_part(staging, engine, position, rank=rank, documents=documents or {}))
    if rank == 0:
        problem = problem or _attempt(lambda: _replace(staging, folder))
        shutil.rmtree(staging, ignore_errors=True)
    return _first_problem(problem)


def _write_part(folder: Path, engine: Any, position: Position, *, rank: int, documents: Mapping[str, str]) -> str | None:
    """This rank's files. What gathers or waits for other ranks comes first and never breaks off: the others would wait for ever."""
    weights = full_state_dict(engine)
    problem = _save_engine(folder, engine)

    def write_files() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            save_file({name: value.contiguous() for name, value in weights.items()}, folder / WEIGHTS)
            for name, text in {**documents, POSITION: json.dumps(asdict(position))}.items():
                (folder / name).write_text(text, encoding="utf-8")
        files = {path.relative_to(folder).as_posix(): _describe(path) for path in sorted(folder.rglob("*")) if _belongs(path, rank)}
        (folder / f"manifest-{rank}.json").write_text(json.dumps({"world_size": position.world_size, "files": files}), encoding="utf-8")

    return problem or _attempt(write_files)


def _save_engine(folder: Path, engine: Any) -> str | None:
    """DeepSpeed's own files; why they couldn't be written, or None."""
    writer = engine.checkpoint_engine
    engine.checkpoint_engine = keeper = _FailureKeeper(writer)
    engine._copy_recovery_script = lambda _: None  # scripts that turn its files into weights, which we write ourselves
    try:
        engine.save_checkpoint(str(folder), tag=TAG, client_state={}, save_latest=False)
    finally:
        engine.checkpoint_engine = writer
    return keeper.problem


class _FailureKeeper:
    """DeepSpeed's file writer, which keeps a failure instead of raising it: between the engine's barriers one rank must not leave alone."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self.problem: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.problem = self.problem or _attempt(lambda: self._writer.makedirs(path, exist_ok=exist_ok))

    def save(self, state_dict: Any, path: str) -> None:
        self.problem = self.problem or _attempt(lambda: self._writer.save(state_dict, path))


def _attempt(write: Callable[[], object]) -> str | None:
    """Why `write` failed, or None. torch and safetensors turn a full disk into errors of their own."""
    try:
        write()
    except OSError as error:
        return error.strerror or str(error)
    except (RuntimeError, SafetensorError) as error:
        return " ".join(str(error).split())[:160]
    return None


def _replace(staging: Path, folder: Path) -> None:
    if folder.exists():
        # Aside first: a kill between the two renames leaves one whole form of the step, under a name that `prune` clears later.
        folder.rename(staging.with_name(f"{staging.name}.old"))
    staging.rename(folder)
    shutil.rmtree(staging.with_name(f"{staging.name}.old"), ignore_errors=True)


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
    """Remove checkpoints beyond `keep`, and those that a kill left unfinished.

    The two newest stay (should the last one be damaged, the one before takes its place) and the best on dev, then the newer ones.
    """
    kept = kept_names({path.name: read_position(path) for path in checkpoints(folder) if gap(path) is None}, keep=keep)
    for path in folder.iterdir():
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)


def kept_names(positions: Mapping[str, Position], *, keep: int) -> set[str]:
    """Of whole checkpoints by name, those that stay (`prune`)."""
    whole = sorted(positions, reverse=True)
    scored = [name for name in whole if positions[name].error is not None]
    best = min(scored, key=lambda name: _rank_of((Path(name), positions[name])), default=None)
    kept = {*whole[:2], *([best] if best else [])}
    others = [name for name in whole if name not in kept]
    return kept | {*others[: max(0, keep - len(kept))]}


def read_position(folder: Path) -> Position:
    """Raises CheckpointError where the folder is no checkpoint of this version."""
    return parse_position((folder / POSITION).read_bytes, where=str(folder / POSITION))


def parse_position(read: Callable[[], bytes], *, where: str) -> Position:
    """The position that a file holds. Raises CheckpointError that begins with `where`."""
    try:
        return Position(**json.loads(read()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{where}: not the position of a checkpoint ({error}): remove the folder, or continue with the signray that wrote it") from None


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The network's state dict of a checkpoint."""
    weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
    return weights


def damage(folder: Path) -> str | None:
    """Why `folder` is no intact checkpoint, or None: every file is read and compared."""
    return _fault(folder, lambda path, record: _describe(path) == record)


def gap(folder: Path) -> str | None:
    """Why `folder` is no whole checkpoint, or None: the cheap half of `damage`, by the files' sizes."""
    return _fault(folder, lambda path, record: path.stat().st_size == record[0])


def _fault(folder: Path, sound: Callable[[Path, list[int | str]], bool]) -> str | None:
    try:
        first = json.loads((folder / "manifest-0.json").read_text(encoding="utf-8"))
        manifests = [first] + [json.loads((folder / f"manifest-{rank}.json").read_text(encoding="utf-8")) for rank in range(1, first["world_size"])]
        records = {name: record for manifest in manifests for name, record in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"not a whole checkpoint ({type(error).__name__})"
    for name, record in records.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if not sound(folder / name, record):
            return f"{name} is damaged"
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders of a run, newest first."""
    return sorted((path for path in folder.glob("checkpoint_*") if path.is_dir()), reverse=True)


def newest_intact(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint in `folder`, and one line for every newer one that is damaged."""
    complaints: list[str] = []
    for path in checkpoints(folder):
        reason = damage(path)
        if reason is None:
            return path, complaints
        complaints.append(f"{path.name}: {reason}")
    return None, complaints


def best_checkpoint(folder: Path) -> tuple[Path, Position] | None:
    """The intact validated checkpoint of the lowest error on dev (the latest among equals), or None."""
    ranked = sorted(_validated(path for path in checkpoints(folder) if gap(path) is None), key=_rank_of)
    return next((entry for entry in ranked if damage(entry[0]) is None), None)


def _validated(paths: Iterable[Path]) -> list[tuple[Path, Position]]:
    scored = [(path, read_position(path)) for path in paths]
    return [(path, position) for path, position in scored if position.error is not None]


def _rank_of(entry: tuple[Path, Position]) -> tuple[float, int]:
    assert entry[1].error is not None
    return entry[1].error, -entry[1].step


def _describe(path: Path) -> list[int | str]:
    with path.open("rb") as stream:
        return [path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest()]
