"""What a trainer, a bundle and a service need to know of one system."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from models.batch import ENSEMBLE, Batch, Heads
from models.decoding.options import DecodingOptions
from models.inputs.inputs import Inputs
from models.losses.options import LossOptions
from models.options import AnswerOptions, Options
from models.translation.options import TranslationDecodingOptions

RECOGNISER, TRANSLATOR = "recogniser", "translator"  # what systems that translate may start from, and parts of their networks
FEATURES = "features"  # the same recogniser without its heads, which then begin at random
TEXT = "text"  # what a translator's scores and answers are called beside those of heads
Task = Literal["slr", "islr"]  # sentences of glosses, or isolated signs
LoadPublished = Callable[[nn.Module, Path, Inputs, bool], str]
LoadFeatures = Callable[[nn.Module, Path], None]
Loss = Callable[[Heads, Batch], dict[str, Tensor]]  # named terms, unweighted


@dataclass(frozen=True, kw_only=True)
class FileStart:
    """A file that a training may start from: `fill` takes from it what fits the network and returns in one line what is to be told of it."""

    fill: Callable[[nn.Module, Path], str]


@dataclass(frozen=True, kw_only=True)
class BundleStart:
    """A bundle of `system` that a training may start from: `fill` copies what its network (the second) has for ours. Raises ValueError where it has nothing."""

    system: str
    fill: Callable[[nn.Module, nn.Module], None]


@dataclass(frozen=True, kw_only=True)
class TranslatorStart:
    """The folder of a language model, or of a bundle that translates, whose translator ours begins as.

    It decides the translator's sizes, so the trainer looks into it before it builds the network.
    """


Starts = Mapping[str, FileStart | BundleStart | TranslatorStart]


@dataclass(frozen=True, kw_only=True)
class System:
    """What a trainer, a bundle and a service need to know of one system.

    options, inputs, losses: classes of its options; `conflict` says why a network's options don't go with its inputs', None where they do.
    heads: names of its recognition heads in evaluation, in the order reported; `ensemble` fuses them into one more set of logits, None where there
    is but one head. loss_terms: names of all terms; `make_loss` takes the loss options and the number of training clips of each class.
    load_published: fills a network that is to read such inputs from a released file and returns what is to be told of it; `unchecked` accepts
    weights that look like those of other inputs. load_features: fills what released files of this system lack, the network that extracted the features
    they learned on, from a released file of the recogniser. starts: what a training may start from, by name.
    translates: the network answers a text, too, and its bundle holds a translator's tokens.
    begin_epoch: tells the network which epoch of training begins, from 0, where that changes it.
    recomputed: modules whose activations may be computed again in the backward pass. synchronised: its batch norms may count all workers' clips.
    """

    task: Task
    options: type[Options]
    inputs: type[Inputs]
    losses: type[LossOptions]
    build: Callable[..., nn.Module]
    heads: tuple[str, ...]
    ensemble: Callable[[Heads], Tensor] | None
    loss_terms: frozenset[str]
    make_loss: Callable[[LossOptions, Sequence[int]], Loss]
    load_published: LoadPublished
    load_features: LoadFeatures | None = None
    starts: Starts = field(default_factory=dict)
    conflict: Callable[[Options, Inputs], str | None] | None = None
    begin_epoch: Callable[[nn.Module, int], None] | None = None
    recomputed: tuple[type[nn.Module], ...] = ()
    synchronised: bool = False
    translates: bool = False

    @property
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer, the default first: the ensemble, then the heads."""
        return (*((ENSEMBLE,) if self.ensemble else ()), *self.heads)

    @property
    def decoding(self) -> type[AnswerOptions]:
        """Class of the options by which it answers."""
        if self.translates:
            return TranslationDecodingOptions
        return DecodingOptions if self.task == "slr" else AnswerOptions

    @property
    def selecting(self) -> tuple[str, ...]:
        """Names of what may choose the best checkpoint, the default first: the text where there is one."""
        return (TEXT,) if self.translates else self.answering

    def all_logits(self, heads: Heads) -> Mapping[str, Tensor]:
        """The ensemble's logits first, where there is one, then each head's."""
        return {ENSEMBLE: self.ensemble(heads), **heads.logits} if self.ensemble else heads.logits


def terms(kind: str, heads: Iterable[str]) -> frozenset[str]:
    """Names of one loss of several heads: `<kind>_<head>`."""
    return frozenset(f"{kind}_{head}" for head in heads)
