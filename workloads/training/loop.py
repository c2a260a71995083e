"""The training loop: one worker's side of a run, the same under Ray Train and in process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from cluster.deepspeed_engine import Precision as DeepSpeedPrecision
from cluster.deepspeed_engine import deepspeed_config, gradient_norm, initialize
from models.batch import Batch
from models.errors import CheckpointError, ShardError, SignrayError, TrainingError
from models.systems import SYSTEMS
from workloads.recipe import Precision, Recipe
from workloads.training.batches import DROPOUT, EpochBatches, generator
from workloads.training.checkpoints import (
    CHECKPOINTS,
    PREDICTIONS,
    TAG,
    Position,
    checkpoint_name,
    checkpoints,
    newest_intact,
    prune,
    read_position,
    write_checkpoint,
)
from workloads.training.events import EVENTS, EventLog, read_events
from workloads.training.faults import check_shared_folder, gather, read_fault, some, write_fault
from workloads.training.optim import freeze, learning_rate, make_optimizer, set_learning_rate, training_mode
from workloads.training.session import Session
from workloads.training.starting import started_network
from workloads.training.tasks import Task, Validation, prediction_lines
from workloads.training.validation import merge, recognise, same_statistics

STOP_FILE = "stop"
# Weights stay in fp32: batch norm's statistics need it.
AUTOCAST: dict[Precision, DeepSpeedPrecision] = {"fp32": "fp32", "bf16": "bf16-autocast", "fp16": "fp16-autocast"}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a worker is given beside the recipe. folder: the run's folder; until_epoch: where this start ends, after a checkpoint, before the recipe's end."""

    folder: Path
    task: Task
    until_epoch: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker's loop ended: at the last step, at a stop that was asked for, or at a fault that a restart doesn't mend."""

    step: int
    finished: bool
    fault: str | None = None


def run_training(recipe: Recipe, setting: Setting, session: Session) -> Outcome:
    """Train until the recipe's last epoch, or until the stop file appears. Resumes by itself from the newest whole checkpoint."""
    fault = read_fault(setting.folder)
    if fault is not None:
        return Outcome(step=0, finished=False, fault=fault)
    step = 0
    try:
        check_shared_folder(setting.folder)
        with closing(Training(recipe, setting, session)) as training:
            try:
                return training.run()
            finally:
                step = training.position.step
    except (TrainingError, CheckpointError) as error:  # raised by every rank
        return Outcome(step=step, finished=False, fault=str(error))
    except SignrayError as error:  # of this rank's data
        if session.world_size > 1:
            write_fault(setting.folder, error)
            raise
        return Outcome(step=step, finished=False, fault=str(error))


@dataclass
class Training:
    """The state of a worker's loop."""

    recipe: Recipe
    setting: Setting
    session: Session
    log: EventLog = field(init=False)
    position: Position = field(init=False)

    def __post_init__(self) -> None:
        recipe, session = self.recipe, self.session
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        self.inputs, self.system, self.task = recipe.inputs, SYSTEMS[recipe.system], self.setting.task
        self.loss = self.system.make_loss(recipe.losses, self.task.class_counts)
        self.log = EventLog(self.setting.folder / EVENTS if session.rank == 0 else None)
        self.batches = EpochBatches(
            source=session.training_clips(),
            inputs=recipe.inputs,
            task=self.task,
            batch_size=recipe.train.batch_size,
            pool_size=recipe.data.shuffle_pool,
            bucket_batches=recipe.data.bucket_batches,
            seed=recipe.seed,
            rank=session.rank,
        )
        self.position = Position(step=0, epoch=0, batches_done=0, world_size=session.world_size, zero_stage=recipe.train.zero_stage)

    def close(self) -> None:
        self.log.close()

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.num_batches // self.recipe.optim.accumulation

    def run(self) -> Outcome:
        if self.steps_per_epoch == 0:
            clips, needed = self.batches.source.num_clips, self.recipe.train.batch_size * self.recipe.optim.accumulation
            raise TrainingError(f"{clips} training clips per worker don't fill one step of {needed}: use fewer workers or a smaller train.batch_size")
        self._start_engine()
        self._restore()
        self.dev_clips = self.session.validation_clips()
        epochs = self.recipe.train.epochs
        until = min(epochs, self.setting.until_epoch or epochs)
        for epoch in range(self.position.epoch, until):
            if not self._train_epoch(epoch):
                return Outcome(step=self.position.step, finished=False)
            self._end_epoch(epoch)
        return Outcome(step=self.position.step, finished=until == epochs)

    def _start_engine(self) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        resumed = bool(checkpoints(self.setting.folder / CHECKPOINTS))
        network, told = started_network(recipe, self.task.classes, world_size=self.session.world_size, resumed=resumed)
        freeze(network.to(self.session.device), recipe.optim.frozen)
        for text in told:
            self.log.write("message", text=text)
        self.optimizer = make_optimizer(recipe.optim, network)
        config = deepspeed_config(
            stage=recipe.train.zero_stage,
            micro_batch_size=recipe.train.batch_size,
            world_size=self.session.world_size,
            accumulation=recipe.optim.accumulation,
            clipping=recipe.optim.clipping,
            precision=AUTOCAST[recipe.train.precision],
        )
        self.engine = initialize(network, self.optimizer, config)

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.engine.module
        return module

    def _restore(self) -> None:
        """Continue from the newest intact checkpoint, if there is one: rank 0 looks, the others hear of it."""
        folder, complaints = gather(newest_intact(self.setting.folder / CHECKPOINTS) if self.session.rank == 0 else (None, []))[0]
        for complaint in complaints:
            self.log.write("message", text=f"checkpoint passed over: {complaint}")
        if folder is None:
            if complaints:
                raise CheckpointError(f"{self.setting.folder / CHECKPOINTS}: every checkpoint is damaged ({complaints[0]}): start a new run")
            if self.session.rank == 0 and any(event["kind"] == "step" for event in read_events(self.setting.folder / EVENTS)):
                self.log.write("message", text="no checkpoint was written before: training begins again")
            return
        position = read_position(folder)
        self._check_restorable(folder, position)
        self.engine.load_checkpoint(str(folder), tag=TAG)
        self.position = position
        self.log.write("message", text=f"resumed from {folder.name}: step {position.step}, epoch {position.epoch + 1}")

    def _check_restorable(self, folder: Path, position: Position) -> None:
        """Raises CheckpointError where the optimiser's state was divided among other ranks than these."""
        then, now = (position.world_size, position.zero_stage), (self.session.world_size, self.recipe.train.zero_stage)
        if now != then and (position.zero_stage or self.recipe.train.zero_stage or now[0] != then[0]):
            raise CheckpointError(
                f"{folder.name} was written by {then[0]} workers at ZeRO stage {then[1]}, this run has {now[0]} at stage {now[1]}: "
                f"set train.num_workers and train.zero_stage in the run's recipe.yaml back to what they were"
            )

    def _train_epoch(self, epoch: int) -> bool:
        """Train the rest of an epoch; False where a stop was asked for, after a checkpoint."""
        accumulation = self.recipe.optim.accumulation
        batches = self.batches.epoch(epoch, skip=self.position.batches_done)
        training_mode(self.network, self.recipe.optim.frozen)  # once: it walks all modules, 1.5 ms
        if self.system.begin_epoch:
            self.system.begin_epoch(self.network, epoch)
        while self.position.batches_done < self.steps_per_epoch * accumulation:
            stop = self._step(batches)
            done = self.position.batches_done + accumulation
            self.position = replace(self.position, step=self.position.step + 1, batches_done=done, error=None, scores={})
            if stop:
                self.log.write("message", text=f"asked to stop: step {self.position.step} is the last")
                self._checkpoint()
                return False
            every = self.recipe.train.checkpoint_steps
            if every and self.position.step % every == 0 and done < self.steps_per_epoch * accumulation:
                self._checkpoint()
        return True

    def _step(self, batches: Iterator[Batch]) -> bool:
        """One step of the optimiser; True where a stop was asked for."""
        began, recipe, step = time.perf_counter(), self.recipe, self.position.step
        rate = learning_rate(recipe.optim, step=step, steps_per_epoch=self.steps_per_epoch, epochs=recipe.train.epochs)
        set_learning_rate(self.optimizer, rate)
        frames, names, values = 0, list[str](), list[dict[str, Tensor]]()
        for number in range(recipe.optim.accumulation):
            batch = self.recipe.inputs.on_device(self._next(batches).to(self.session.device))
            # Dropout's draws depend on seed, step and rank alone, so that a resumed run repeats them.
            torch.manual_seed(int(generator(recipe.seed, DROPOUT, step, number, self.session.rank).integers(2**63)))
            values.append(self._forward_backward(batch))
            frames += int(batch.lengths.sum())
            names += batch.names
        terms = {name: torch.stack([value[name] for value in values]).mean() for name in values[0]}
        summary, stop = self._reduce(terms, frames)
        if not all(map(_finite, summary["terms"].values())):
            self._refuse_non_finite(terms, names)
        seconds = time.perf_counter() - began
        rates = {"frames_per_s": summary.pop("frames") / seconds, "seconds": seconds, "lr": rate}
        norm = gradient_norm(self.engine)
        self.log.write("step", step=step + 1, epoch=self.position.epoch, **summary, **rates, **({} if norm is None else {"gradient_norm": norm}))
        return stop

    def _next(self, batches: Iterator[Batch]) -> Batch:
        batch = next(batches, None)
        if batch is None:
            raise ShardError(f"{self.recipe.data.shards}: fewer training clips came than corpus.json counts: run preprocess again with --force")
        return batch

    def _forward_backward(self, batch: Batch) -> dict[str, Tensor]:
        weights = self.recipe.losses.weights
        terms = self.loss(self.engine(batch), batch)
        total = torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum()
        self.engine.backward(total)
        self.engine.step()
        return {"loss": total.detach(), **{name: value.detach() for name, value in terms.items()}}

    def _reduce(self, terms: dict[str, Tensor], frames: int) -> tuple[dict[str, Any], bool]:
        """Means of the terms over ranks, frames in all, and whether rank 0 was asked to stop: one small all-reduce a step."""
        stop = float(self.session.rank == 0 and (self.setting.folder / STOP_FILE).exists())
        packed = torch.cat([torch.stack([*terms.values()]).double().cpu(), torch.tensor([float(frames), stop], dtype=torch.float64)])
        if self.session.world_size > 1:
            packed = packed.to(self.session.device)
            dist.all_reduce(packed)
            packed = packed.cpu()
        means = (packed[: len(terms)] / self.session.world_size).tolist()
        return {"terms": dict(zip(terms, means, strict=True)), "frames": packed[-2].item()}, bool(packed[-1] > 0)

    def _refuse_non_finite(self, terms: dict[str, Tensor], names: list[str]) -> None:
        """Every rank comes here at the same step; raises with the clips of the ranks whose loss it is."""
        own = [name for name, value in terms.items() if name != "loss" and not bool(torch.isfinite(value))]
        parts = gather((own, names if own or not bool(torch.isfinite(terms["loss"])) else []))
        bad = dict.fromkeys(name for terms, _ in parts for name in terms) or ["the loss"]
        clips = [name for _, names in parts for name in names]
        raise TrainingError(
            f"step {self.position.step + 1}: {', '.join(bad)} not finite in the batch of {some(clips, limit=16)}: "
            "look at these clips, lower optim.lr or set optim.clipping"
        )

    def _end_epoch(self, epoch: int) -> None:
        """Validate where it is time to, and checkpoint; then the next epoch begins."""
        last = epoch + 1 == self.recipe.train.epochs
        self.position = replace(self.position, epoch=epoch + 1, batches_done=0)
        if (epoch + 1) % self.recipe.validation.every_epochs == 0 or last:
            validation, predictions = self._validate(epoch)
            chosen, metric = self.recipe.validation.select_by, validation.metric
            self.position = replace(self.position, error=validation.error(chosen), scores=dict(validation.scores))
            self._checkpoint({PREDICTIONS: predictions})
            scores = {f"{metric}_{head}": score for head, score in validation.scores.items()}
            self.session.report({"step": float(self.position.step), metric: validation.scores[chosen], **scores})

    def _validate(self, epoch: int) -> tuple[Validation, str]:
        """Scores on dev, and what was recognised (a line of JSON per clip)."""
        began, options = time.perf_counter(), self.recipe.validation
        same_statistics(self.network)
        answers = recognise(
            self.network,
            self.dev_clips,
            self.system,
            self.inputs,
            self.task,
            batch_size=options.batch_size,
            device=self.session.device,
        )
        answers = merge(gather(answers))
        validation = self.task.score(answers)
        self.log.write(
            "validation",
            step=self.position.step,
            epoch=epoch,
            metric=validation.metric,
            scores=dict(validation.scores),
            beside=dict(validation.beside),
            clips=validation.num_clips,
            seconds=time.perf_counter() - began,
        )
        if epoch + 1 > options.warmup_epochs:
            for text in self.task.complaints(validation, options.select_by):
                self.log.write("message", text=f"epoch {epoch + 1}: {text}")
        return validation, prediction_lines(answers)

    def _checkpoint(self, documents: dict[str, str] | None = None) -> None:
        """Write a checkpoint; a full disk costs this one, not the run."""
        position, folder, rank = self.position, self.setting.folder / CHECKPOINTS, self.session.rank
        name = checkpoint_name(position.step)
        problem = write_checkpoint(folder / name, self.engine, position, rank=rank, documents=documents)
        if problem:
            self.log.write("message", text=f"{name} could not be written ({problem}): training goes on; make room before the next one")
        elif rank == 0:
            with suppress(OSError, CheckpointError):  # what can't be removed now is looked at again after the next one
                prune(folder, keep=self.recipe.train.keep_checkpoints)
            self.log.write("checkpoint", step=position.step, name=name, error=position.error)


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
