"""A training step through the whole stack against the same step in a bare PyTorch loop.

Both run in one Ray Train worker, in turns: some steps of the training as it is (Ray Train, DeepSpeed, Ray Data, event log, tracking), then the same batches,
already loaded, through a second network in a loop that does nothing but forward, loss, backward and optimiser. Same process, same threads, same allocator.
Each side goes first in every other round: whoever is first with batches of a new length pays for the memory.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

import torch

from models.batch import Batch
from models.systems import SYSTEMS
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench, Span, Watcher, now, train_watched
from workloads.recipe import Recipe
from workloads.training.loop import Setting
from workloads.training.optim import make_optimizer
from workloads.training.session import Session

WINDOW = 2  # steps of one side in a row


class BareLoop:
    """The recipe's network and optimiser without anything around them."""

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        self.weights, self.loss = recipe.losses.weights, SYSTEMS[recipe.system].make_loss(recipe.losses, ())
        self.network = SYSTEMS[recipe.system].build(recipe.network, num_classes).train()
        self.optimizer = make_optimizer(recipe.optim, self.network)

    def step(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        terms = self.loss(self.network(batch), batch)
        torch.stack([self.weights.get(name, 1.0) * value for name, value in terms.items()]).sum().backward()
        self.optimizer.step()


@dataclass
class Rounds(Watcher):
    """Takes turns with the training; what each window cost on both sides, in order."""

    bare_loop: BareLoop
    stack: list[Span] = field(default_factory=list)
    waiting: list[Span] = field(default_factory=list)
    bare: list[Span] = field(default_factory=list)

    def before(self, batches: list[Batch]) -> None:
        if len(self.stack) % 2:
            self._step_bare(batches)

    def after(self, batches: list[Batch], waited: Span, taken: Span) -> None:
        if not len(self.stack) % 2:
            self._step_bare(batches)
        self.stack.append(taken)
        self.waiting.append(waited)

    def _step_bare(self, batches: list[Batch]) -> None:
        began = now()
        for batch in batches:
            self.bare_loop.step(batch)
        # The last window of an epoch is not told to `after`: its bare side gives way to that of the next window.
        self.bare[len(self.stack) :] = [now() - began]

    def record(self) -> dict[str, list[float]]:
        """The rounds as plain numbers; the first two are left out: both sides allocate in them what they keep."""
        sides = {"stack": self.stack, "waiting": self.waiting, "bare": self.bare[: len(self.stack)]}
        return {f"{side}_{clock}": [getattr(span, clock) for span in spans[2:]] for side, spans in sides.items() for clock in ("wall", "cpu")}


def interleave(recipe: Recipe, setting: Setting, session: Session) -> dict[str, list[float]]:
    """The measurement in the worker."""
    rounds = Rounds(BareLoop(recipe, len(setting.task.classes)))
    train_watched(recipe, setting, session, rounds, window=WINDOW)
    return rounds.record()


def measure(bench: Bench) -> list[Figure]:
    """Step time of the stack over the bare loop, by wall clock and by CPU time, and the share of a step that waits for data."""
    record = bench.measure(interleave, "stack", ("train.epochs=2", "validation.every_epochs=2"))
    wall, cpu, share = (ratios(record, *sides) for sides in (("stack_wall", "bare_wall"), ("stack_cpu", "bare_cpu"), ("waiting_wall", "stack_wall")))
    step, step_cpu = (1000 * statistics.median(record[side]) / WINDOW for side in ("stack_wall", "stack_cpu"))
    waiting = 1000 * statistics.median(record["waiting_wall"]) / WINDOW
    return [
        Figure(name="step, whole stack / bare loop, wall clock", rounds=wall, at_most=1.10, note=f"{step:.0f} ms a step through the stack"),
        Figure(name="step, whole stack / bare loop, CPU time of the worker", rounds=cpu, note=f"{step_cpu:.0f} ms a step through the stack"),
        Figure(name="step, share that waits for data", rounds=tuple(100 * value for value in share), unit="%", note=f"{waiting:.1f} ms of {step:.0f} ms"),
    ]


def ratios(record: dict[str, Any], upper: str, lower: str) -> tuple[float, ...]:
    return tuple(a / b for a, b in zip(record[upper], record[lower], strict=True))
