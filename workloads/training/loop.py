"""The training loop: one worker's side of a run, the same under Ray Train and in process."""

from __future__ import annotations

import logging
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
from cluster.deepspeed_engine import deepspeed_config, fill_unlearned, gradient_norm, initialize
from cluster.logs import LOGGER
from models.batch import Batch
from models.errors import CheckpointError, ShardError, SignrayError, TrainingError
from models.systems import SYSTEMS
from workloads.recipe import Precision, Recipe
from workloads.training.batches import DROPOUT, EpochBatches, generator
from workloads.training.checkpoints import (
    CHECKPOINTS,
    PREDICTIONS,
    Position,
    checkpoint_name,
    checkpoints,
    prune,
    read_position,
    read_weights,
    write_checkpoint,
)
from workloads.training.events import EVENTS, EventLog
from workloads.training.faults import check_shared_folder, gather, read_fault, some, write_fault
from workloads.training.notices import Notices
from workloads.training.optim import freeze, learning_rate, make_optimizer, set_learning_rate, training_mode
from workloads.training.restoring import check_restorable, cost_of, divided_for, newest
from workloads.training.session import Session
from workloads.training.shares import Deal, SharedBatches, Turn, shares_of, unseen_by_norms
from workloads.training.starting import started_network
from workloads.training.tasks import Task, Validation, prediction_lines
from workloads.training.validation import merge, recognise, same_statistics

STOP_FILE = "stop"
logger = logging.getLogger(LOGGER)
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
    """The state of a worker's loop. due: whether a checkpoint is, after the last step."""

    recipe: Recipe
    setting: Setting
    session: Session
    log: EventLog = field(init=False)
    position: Position = field(init=False)
    due: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        recipe, session = self.recipe, self.session
        if recipe.train.threads:
            torch.set_num_threads(recipe.train.threads)
        self.inputs, self.system, self.task = recipe.inputs, SYSTEMS[recipe.system], self.setting.task
        self.loss = self.system.make_loss(recipe.losses, self.task.class_counts)
        self.log = EventLog(self.setting.folder / EVENTS if session.rank == 0 else None)
        self.deal = Deal(shares=shares_of(recipe, session.world_size), world_size=session.world_size, rank=session.rank)
        parts = [self._batches_of(share) for share in self.deal.own]
        self.batches = parts[0] if len(parts) == 1 else SharedBatches(parts)
        self.notices = Notices(session)
        self.position = Position(step=0, epoch=0, batches_done=0, world_size=session.world_size, zero_stage=recipe.train.zero_stage)

    def close(self) -> None:
        self.log.close()

    def _say(self, text: str) -> None:
        """To the person who watches the run, and into the node's log."""
        logger.info(text)
        self.log.write("message", text=text)

    def _batches_of(self, share: int) -> EpochBatches:
        recipe = self.recipe
        return EpochBatches(
            source=self.session.training_clips(share, self.deal.shares),
            inputs=recipe.inputs,
            task=self.task,
            batch_size=recipe.train.batch_size,
            pool_size=recipe.data.shuffle_pool,
            bucket_batches=recipe.data.bucket_batches,
            seed=recipe.seed,
            rank=share,
        )

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.num_batches // self.recipe.optim.accumulation

    def run(self) -> Outcome:
        if self.steps_per_epoch == 0:
            clips, needed = self.batches.source.num_clips, self.recipe.train.batch_size * self.recipe.optim.accumulation
            raise TrainingError(f"{clips} training clips per worker don't fill one step of {needed}: use fewer workers or a smaller train.batch_size")
        found = newest(self.setting.folder, rank=self.session.rank, log=self.log)
        if found is None:
            self._start_engine()
        else:
            check_restorable(found, self.position, elastic=self.recipe.train.min_workers is not None)
            with divided_for(found, self.position, rank=self.session.rank) as (files, tag, universal):
                self._start_engine(universal=universal)
                self.engine.load_checkpoint(str(files), tag=tag)
                if universal:
                    fill_unlearned(self.engine, read_weights(found))
            self._go_on(found)
        self.dev_clips = self.session.validation_clips()
        epochs = self.recipe.train.epochs
        until = min(epochs, self.setting.until_epoch or epochs)
        for epoch in range(self.position.epoch, until):
            if not self._train_epoch(epoch):
                return Outcome(step=self.position.step, finished=False)
            self._end_epoch(epoch)
        return Outcome(step=self.position.step, finished=until == epochs)

    def _start_engine(self, *, universal: bool = False) -> None:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        resumed = bool(checkpoints(self.setting.folder / CHECKPOINTS))
        network, told = started_network(recipe, self.task.classes, world_size=self.session.world_size, resumed=resumed)
        freeze(network.to(self.session.device), recipe.optim.frozen)
        for text in told:
            self._say(text)
        self.optimizer = make_optimizer(recipe.optim, network)
        config = deepspeed_config(
            stage=recipe.train.zero_stage,
            micro_batch_size=recipe.train.batch_size,
            world_size=self.session.world_size,
            accumulation=recipe.optim.accumulation * self.deal.rounds,
            clipping=recipe.optim.clipping,
            precision=AUTOCAST[recipe.train.precision],
            universal=universal,
        )
        self.engine = initialize(network, self.optimizer, config)
        logger.info(
            "rank %d of %d, on %s, with %d of %d shares", self.deal.rank, self.deal.world_size, self.session.device, len(self.deal.own), self.deal.shares
        )

    @property
    def network(self) -> nn.Module:
        module: nn.Module = self.engine.module
        return module

    def _go_on(self, folder: Path) -> None:
        """Take a checkpoint's position, and tell what the interruption cost."""
        self.position = replace(read_position(folder), world_size=self.session.world_size)
        fewer = f", with {self.session.world_size} of {self.deal.shares} workers" if self.session.world_size < self.deal.shares else ""
        self._say(f"resumed from {folder.name}: step {self.position.step}, epoch {self.position.epoch + 1}{fewer}")
        if self.session.rank == 0:
            self.log.write("resumed", step=self.position.step, workers=self.session.world_size, **cost_of(self.setting.folder, self.position.step))

    def _train_epoch(self, epoch: int) -> bool:
        """Train the rest of an epoch; False where a stop was asked for, after a checkpoint."""
        accumulation, self.due = self.recipe.optim.accumulation, False
        batches = self.batches.epoch(epoch, skip=self.position.batches_done)
        training_mode(self.network, self.recipe.optim.frozen)  # once: it walks all modules, 1.5 ms
        if self.system.begin_epoch:
            self.system.begin_epoch(self.network, epoch)
        while self.position.batches_done < self.steps_per_epoch * accumulation:
            stop, ask = self._step(batches)
            done = self.position.batches_done + accumulation
            self.position = replace(self.position, step=self.position.step + 1, batches_done=done, error=None, scores={})
            if stop:
                self._say(f"asked to stop: step {self.position.step} is the last")
                self._checkpoint()
                return False
            every = self.recipe.train.checkpoint_steps
            left = self.notices.due() if ask else None
            if left is not None:
                self._say(f"a node of this run is taken away in {left:.0f} s: step {self.position.step} is kept")
            self.due = left is not None or (every is not None and self.position.step % every == 0)
            if self.due and done < self.steps_per_epoch * accumulation:
                self._checkpoint()
        return True

    def _step(self, batches: Iterator[Batch]) -> tuple[bool, bool]:
        """One step of the optimiser; whether a stop was asked for, and whether all ranks are to look for notices."""
        began, recipe, step = time.perf_counter(), self.recipe, self.position.step
        rate = learning_rate(recipe.optim, step=step, steps_per_epoch=self.steps_per_epoch, epochs=recipe.train.epochs)
        set_learning_rate(self.optimizer, rate)
        frames, waited, names, values = 0, 0.0, list[str](), list[dict[str, Tensor]]()
        for turn in self.deal.turns(recipe.optim.accumulation):
            if turn.counts:
                asked = time.perf_counter()
                next_batch = self._next(batches)
                waited += time.perf_counter() - asked
                batch = recipe.inputs.on_device(next_batch.to(self.session.device))
                frames += int(batch.lengths.sum())
                names += batch.names
            # Dropout's draws depend on seed, step and share alone, so that a resumed run repeats them.
            torch.manual_seed(int(generator(recipe.seed, DROPOUT, step, turn.number, turn.share).integers(2**63)))
            found = self._forward_backward(batch, turn)
            values += [found] if turn.counts else []
        terms = {name: torch.stack([value[name] for value in values]).sum() / recipe.optim.accumulation for name in values[0]}
        summary, stop, ask = self._reduce(terms, frames)
        if not all(map(_finite, summary["terms"].values())):
            self._refuse_non_finite(terms, names)
        seconds = time.perf_counter() - began
        rates = {"frames_per_s": summary.pop("frames") / seconds, "seconds": seconds, "data_wait_s": waited, "lr": rate}
        norm = gradient_norm(self.engine)
        self.log.write("step", step=step + 1, epoch=self.position.epoch, **summary, **rates, **({} if norm is None else {"gradient_norm": norm}))
        return stop, ask

    def _next(self, batches: Iterator[Batch]) -> Batch:
        batch = next(batches, None)
        if batch is None:
            raise ShardError(f"{self.recipe.data.shards}: fewer training clips came than corpus.json counts: run preprocess again with --force")
        return batch

    def _forward_backward(self, batch: Batch, turn: Turn) -> dict[str, Tensor]:
        weights, scale = self.recipe.losses.weights, self.deal.scale if turn.counts else 0.0
        with unseen_by_norms(self.network, self.session.rank == 0 and (turn.share != 0 or not turn.counts)):
            terms = self.loss(self.engine(batch), batch)
            total = torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum()
            self.engine.backward(total if scale == 1.0 else total * scale)
        self.engine.step()
        return {"loss": total.detach(), **{name: value.detach() for name, value in terms.items()}}

    def _reduce(self, terms: dict[str, Tensor], frames: int) -> tuple[dict[str, Any], bool, bool]:
        """Means of the terms over shares, frames in all; whether rank 0 was asked to stop, and finds it time to look for notices: one all-reduce a step."""
        first = self.session.rank == 0
        flags = [float(first and (self.setting.folder / STOP_FILE).exists()), float(first and self.notices.time())]
        packed = torch.cat([torch.stack([*terms.values()]).double().cpu(), torch.tensor([float(frames), *flags], dtype=torch.float64)])
        if self.session.world_size > 1:
            packed = packed.to(self.session.device)
            dist.all_reduce(packed)
            packed = packed.cpu()
        means = (packed[: len(terms)] / self.deal.shares).tolist()
        return {"terms": dict(zip(terms, means, strict=True)), "frames": packed[-3].item()}, bool(packed[-2] > 0), bool(packed[-1] > 0)

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
        """Validate where it is time to, and checkpoint then or where the last step is due to; then the next epoch begins."""
        last = epoch + 1 == self.recipe.train.epochs
        self.position = replace(self.position, epoch=epoch + 1, batches_done=0)
        if (epoch + 1) % self.recipe.validation.every_epochs == 0 or last:
            validation, predictions = self._validate(epoch)
            chosen, metric = self.recipe.validation.select_by, validation.metric
            self.position = replace(self.position, error=validation.error(chosen), scores=dict(validation.scores))
            self._checkpoint({PREDICTIONS: predictions})
            scores = {f"{metric}_{head}": score for head, score in validation.scores.items()}
            self.session.report({"step": float(self.position.step), metric: validation.scores[chosen], **scores})
        elif self.due:
            self._checkpoint()

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
                self._say(f"epoch {epoch + 1}: {text}")
        return validation, prediction_lines(answers)

    def _checkpoint(self, documents: dict[str, str] | None = None) -> None:
        """Write a checkpoint; a full disk costs this one, not the run."""
        began, position, folder, rank = time.perf_counter(), self.position, self.setting.folder / CHECKPOINTS, self.session.rank
        name = checkpoint_name(position.step)
        problem = write_checkpoint(folder / name, self.engine, position, rank=rank, documents=documents)
        if problem:
            self._say(f"{name} could not be written ({problem}): training goes on; make room before the next one")
        elif rank == 0:
            with suppress(OSError, CheckpointError):  # what can't be removed now is looked at again after the next one
                prune(folder, keep=self.recipe.train.keep_checkpoints)
            self.log.write("checkpoint", step=position.step, name=name, error=position.error)
        logger.info("step %d: %s", position.step, problem or f"{name} written in {time.perf_counter() - began:.1f} s")


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
