"""What every trained recogniser does with clips: refuse those it can't take, batch the others by length, answer all in their order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from models.batch import Batch, Heads
from models.errors import RecordingError
from models.inputs.clip import Clip
from models.inputs.inputs import Inputs, Modality
from models.options import AnswerOptions
from models.systems import System

WINDOW_BATCHES = 8  # batches of clips that are held at a time, to be sorted by length: some 40 MB

A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class Unanswered:
    """A clip that couldn't be recognised, and why (one line)."""

    name: str
    reason: str


class Answerer(ABC, Generic[A]):
    """Answers clips by its heads, in evaluation form: whatever the batch mates, a clip's answer is the same."""

    @property
    @abstractmethod
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What of a clip is looked at."""
        return ("keypoints",)

    @property
    @abstractmethod
    def options(self) -> AnswerOptions:
        """Which of them answers."""

    @abstractmethod
    def problem(self, clip: Clip) -> str | None:
        """Why the clip can't be recognised, in one line; None where it can."""

    @abstractmethod
    def to(self, device: str) -> Self:
        """The same with its networks on `device`."""

    @abstractmethod
    def _batch(self, clips: Sequence[Clip], names: Sequence[str]) -> list[A | Unanswered]:
        """Answers of the heads `names` to clips without a problem."""

    def head_names(self) -> tuple[str, ...]:
        """All heads, the one that answers first. Raises ValueError where there is no such head."""
        if self.options.head not in self.answering:
            raise ValueError(f"no head {self.options.head!r}: there are {', '.join(self.answering)}")
        return (self.options.head, *(name for name in self.answering if name != self.options.head))

    def recognise(self, clips: Iterable[Clip], *, batch_size: int = 8, heads: Sequence[str] | None = None) -> Iterator[A]:
        """As `attempt`, but a clip that can't be recognised raises RecordingError that names it."""
        for outcome in self.attempt(clips, batch_size=batch_size, heads=heads):
            if isinstance(outcome, Unanswered):
                raise RecordingError(f"{outcome.name}: {outcome.reason}")
            yield outcome

    def attempt(self, clips: Iterable[Clip | Unanswered], *, batch_size: int = 8, heads: Sequence[str] | None = None) -> Iterator[A | Unanswered]:
        """Answers in the order of `clips`, which are read as they are needed and batched by length; one for each clip.

        A clip that couldn't even be read stands among them as `Unanswered` and is passed on.
        heads: those to decode, the one that answers first (None: all, the chosen one first). Raises ValueError for an unknown head.
        """
        names = self.head_names() if heads is None else tuple(heads)
        unknown = [name for name in names if name not in self.head_names()]
        if unknown or not names or batch_size < 1:
            raise ValueError(f"heads {list(names)} of {', '.join(self.head_names())}, batch size {batch_size}: at least one of each, and known heads")
        remaining = iter(clips)
        while window := list(islice(remaining, batch_size * WINDOW_BATCHES)):
            yield from self._window(window, batch_size, names)

    def _window(self, clips: Sequence[Clip | Unanswered], batch_size: int, names: Sequence[str]) -> list[A | Unanswered]:
        outcomes: dict[int, A | Unanswered] = {}
        good: list[tuple[int, Clip]] = []
        for position, clip in enumerate(clips):
            if isinstance(clip, Unanswered):
                outcomes[position] = clip
            elif reason := self.problem(clip):
                outcomes[position] = Unanswered(name=clip.name, reason=reason)
            else:
                good.append((position, clip))
        good.sort(key=lambda entry: entry[1].num_frames)
        for start in range(0, len(good), batch_size):
            positions, batch = zip(*good[start : start + batch_size], strict=True)
            outcomes.update(zip(positions, self._answered(batch, names), strict=True))
        return [outcomes[position] for position in range(len(clips))]

    def _answered(self, clips: Sequence[Clip], names: Sequence[str]) -> list[A | Unanswered]:
        """`_batch`; where a picture turns out to be damaged, of one clip after the other, so that its own clip alone goes without an answer."""
        try:
            return self._batch(clips, names)
        except RecordingError as error:
            if len(clips) == 1:
                return [Unanswered(name=clips[0].name, reason=str(error).removeprefix(f"{clips[0].name}: "))]
            return [outcome for clip in clips for outcome in self._answered([clip], names)]


def modalities_of(inputs: Iterable[Inputs]) -> tuple[Modality, ...]:
    """What any of these inputs looks at."""
    return tuple(sorted({modality for entry in inputs for modality in entry.modalities}))


NetworkLogits = tuple[Mapping[str, Tensor], Tensor]
Run = Callable[[Sequence[Callable[[], NetworkLogits]]], list[NetworkLogits]]  # how an ensemble runs its networks: one by one, or at once


def one_by_one(calls: Sequence[Callable[[], NetworkLogits]]) -> list[NetworkLogits]:
    """Results of calls that are made in turn."""
    return [call() for call in calls]


def evaluation_logits(network: nn.Module, system: System, inputs: Inputs, clips: Sequence[Clip]) -> tuple[Mapping[str, Tensor], Tensor]:
    """Logits of all that can answer to clips, and steps (B,), in float32 on the CPU; the network's mode is put back."""
    heads = evaluation_heads(network, inputs, clips)
    return {name: logits.float().cpu() for name, logits in system.all_logits(heads).items()}, heads.lengths.cpu()


def evaluation_heads(network: nn.Module, inputs: Inputs, clips: Sequence[Clip], *, prepare: Callable[[Batch], Batch] | None = None) -> Heads:
    """What the network answers to clips, on its device, in evaluation; its mode is put back. prepare: puts into the batch what inputs don't know."""
    batch = inputs.evaluation_batch(clips)
    if prepare is not None:
        batch = prepare(batch)
    with evaluation_form(network):
        heads: Heads = network(inputs.on_device(batch.to(next(network.parameters()).device)))
    return heads


@contextmanager
def evaluation_form(network: nn.Module) -> Iterator[None]:
    """The network in evaluation, without gradients; its mode is put back."""
    was_training = network.training
    if was_training:  # in service it never is, and going through hundreds of modules takes milliseconds
        network.eval()
    try:
        with torch.no_grad():  # not inference mode, whose tensors a network in training could not use afterwards
            yield
    finally:
        if was_training:
            network.train()
