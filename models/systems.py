"""The systems that recipes and bundles name, one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from models.batch import ENSEMBLE, Batch, Heads
from models.decoding.options import DecodingOptions
from models.dsta_slr import published as dsta_published
from models.dsta_slr.config import DstaOptions
from models.dsta_slr.inputs import SkeletonInputs
from models.dsta_slr.network import HEADS as SIGN_HEADS
from models.dsta_slr.network import DstaSlr
from models.inputs.inputs import Inputs
from models.inputs.keypoints import KeypointInputs
from models.losses.classification import class_weights, sign_losses
from models.losses.ctc import recognition_losses
from models.losses.options import LossOptions, SentenceLossOptions, SignLossOptions
from models.mska import published as mska_published
from models.mska.config import MskaOptions
from models.mska.network import HEADS, Mska, ensemble_logits
from models.options import AnswerOptions, Options
from models.published.loading import read_checkpoint

Task = Literal["slr", "islr"]  # sentences of glosses, or isolated signs
LoadPublished = Callable[[nn.Module, Path, Inputs, bool], str]
Loss = Callable[[Heads, Batch], dict[str, Tensor]]  # named terms, unweighted


@dataclass(frozen=True, kw_only=True)
class System:
    """What a trainer, a bundle and a service need to know of one system.

    options, inputs, losses: classes of its options. heads: names of its recognition heads in the order reported; `ensemble` fuses them
    into one more set of logits, None where there is but one head. loss_kinds: its terms are `<kind>_<head>`; `make_loss` takes the loss
    options and the number of training clips of each class. load_published: fills a network that is to read such inputs from a released
    file and returns what is to be told of it; `unchecked` accepts weights that look like those of other inputs.
    begin_epoch: tells the network which epoch of training begins, from 0, where that changes it.
    """

    task: Task
    options: type[Options]
    inputs: type[Inputs]
    losses: type[LossOptions]
    build: Callable[..., nn.Module]
    heads: tuple[str, ...]
    ensemble: Callable[[Heads], Tensor] | None
    loss_kinds: tuple[str, ...]
    make_loss: Callable[[LossOptions, Sequence[int]], Loss]
    load_published: LoadPublished
    begin_epoch: Callable[[nn.Module, int], None] | None = None

    @property
    def answering(self) -> tuple[str, ...]:
        """Names of what can answer, the default first: the ensemble, then the heads."""
        return (*((ENSEMBLE,) if self.ensemble else ()), *self.heads)

    @property
    def decoding(self) -> type[AnswerOptions]:
        """Class of the options by which it answers."""
        return DecodingOptions if self.task == "slr" else AnswerOptions

    @property
    def loss_terms(self) -> set[str]:
        return {f"{kind}_{head}" for kind in self.loss_kinds for head in self.heads}

    def all_logits(self, heads: Heads) -> Mapping[str, Tensor]:
        """The ensemble's logits first, where there is one, then each head's."""
        return {ENSEMBLE: self.ensemble(heads), **heads.logits} if self.ensemble else heads.logits


def _sentence_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    assert isinstance(options, SentenceLossOptions)

    def loss(heads: Heads, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        assert batch.target_lengths is not None
        return recognition_losses(heads, batch.targets, batch.target_lengths, distillation=options.distillation, distil_padding=options.distil_padding)

    return loss


def _sign_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    assert isinstance(options, SignLossOptions)
    weights = class_weights(class_counts, options.class_balance)
    return lambda heads, batch: sign_losses(heads, batch, options, weights)


def _load_mska(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, Mska)
    mska_published.load(network, read_checkpoint(checkpoint))
    return ""


def _load_dsta(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, DstaSlr)
    assert isinstance(inputs, SkeletonInputs)
    guess = dsta_published.load(network, dsta_published.read(checkpoint), stream=inputs.stream, any_stream=unchecked)
    return f"{checkpoint}: by its statistics, weights of the stream {guess}"


def _begin_dsta_epoch(network: nn.Module, epoch: int) -> None:
    assert isinstance(network, DstaSlr)
    network.begin_epoch(epoch)


SYSTEMS: dict[str, System] = {
    "mska_slr": System(
        task="slr",
        options=MskaOptions,
        inputs=KeypointInputs,
        losses=SentenceLossOptions,
        build=Mska,
        heads=HEADS,
        ensemble=ensemble_logits,
        loss_kinds=("ctc", "distil"),
        make_loss=_sentence_loss,
        load_published=_load_mska,
    ),
    "dsta_slr": System(
        task="islr",
        options=DstaOptions,
        inputs=SkeletonInputs,
        losses=SignLossOptions,
        build=DstaSlr,
        heads=SIGN_HEADS,
        ensemble=None,
        loss_kinds=("cross_entropy",),
        make_loss=_sign_loss,
        load_published=_load_dsta,
        begin_epoch=_begin_dsta_epoch,
    ),
}
