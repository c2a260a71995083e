"""What a run is continued from, by as many workers as there are now."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.deepspeed_engine import UNIVERSAL_TAG, write_universal
from models.errors import CheckpointError
from workloads.training.checkpoints import CHECKPOINTS, TAG, Position, newest_intact, read_position
from workloads.training.events import EVENTS, EventLog, read_events
from workloads.training.faults import gather

UNIVERSAL = "universal"  # folder of a run, while its workers read it


def newest(folder: Path, *, rank: int, log: EventLog) -> Path | None:
    """The newest intact checkpoint of the run in `folder`, if there is one: rank 0 looks, the others hear of it. Raises CheckpointError, on every rank."""
    found, complaints = gather(newest_intact(folder / CHECKPOINTS) if rank == 0 else (None, []))[0]
    for complaint in complaints:
        log.write("message", text=f"checkpoint passed over: {complaint}")
    if found is None:
        if complaints:
            raise CheckpointError(f"{folder / CHECKPOINTS}: every checkpoint is damaged ({complaints[0]}): start a new run")
        if rank == 0 and any(event["kind"] == "step" for event in read_events(folder / EVENTS)):
            log.write("message", text="no checkpoint was written before: training begins again")
    return found


def check_restorable(folder: Path, here: Position, *, elastic: bool) -> None:
    """Raises CheckpointError where the optimiser's state was divided among other ranks than these, and can't be divided anew. here: what is now."""
    position = read_position(folder)
    then, now = (position.world_size, position.zero_stage), (here.world_size, here.zero_stage)
    if (now[0] != then[0] and not elastic) or now[1] != then[1]:
        raise CheckpointError(
            f"{folder.name} was written by {then[0]} workers at ZeRO stage {then[1]}, this run has {now[0]} at stage {now[1]}: "
            f"set train.num_workers and train.zero_stage in the run's recipe.yaml back to what they were"
        )


@contextmanager
def divided_for(folder: Path, here: Position, *, rank: int) -> Iterator[tuple[Path, str, bool]]:
    """DeepSpeed's files of a checkpoint as the workers of now read them: folder, tag, and whether they are in its universal form.

    State that ZeRO divided among another number of workers is put together by rank 0, in a folder beside the checkpoints that vanishes after the block.
    Every rank must enter and leave it. Raises CheckpointError, on every rank.
    """
    position = read_position(folder)
    if not position.zero_stage or position.world_size == here.world_size:
        yield folder, TAG, False
        return
    out = folder.parent.parent / UNIVERSAL
    problem = gather(_convert(folder, out) if rank == 0 else None)[0]
    if problem:
        raise CheckpointError(f"{folder.name}: its optimiser's state can't be divided among {here.world_size} workers ({problem})")
    yield out, UNIVERSAL_TAG, True
    gather(None)  # all have read it
    if rank == 0:
        shutil.rmtree(out, ignore_errors=True)


def _convert(folder: Path, out: Path) -> str | None:
    shutil.rmtree(out, ignore_errors=True)
    try:
        write_universal(folder / TAG, out)
    except Exception as error:  # DeepSpeed raises all kinds; the other ranks must hear of it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return None


def cost_of(folder: Path, step: int) -> dict[str, float]:
    """What an interruption cost: steps beyond `step` that are taken again, and the seconds since the last step was told."""
    steps = [event for event in read_events(folder / EVENTS) if event["kind"] == "step"]
    if not steps:
        return {}
    last = max(steps, key=lambda event: event["step"])
    return {"steps_lost": max(0, last["step"] - step), **({"seconds_lost": time.time() - last["time"]} if "time" in last else {})}
