"""The systems that recipes and bundles name, one entry each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from models.batch import Batch, Heads
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
from models.published.loading import read_checkpoint
from models.system import TRANSLATOR, Loss, System, Task, TranslatorStart, terms
from models.translation import systems as translation
from models.translation.inputs import GlossInputs
from models.translation.options import GlossToTextOptions, MskaSltOptions, TranslationLossOptions
from models.translation.streams import SINGLE_STREAM_SLT, TWO_STREAM_SLT
from models.twostream.systems import SINGLE_STREAM, TWO_STREAM
from models.vac.systems import CORRNET, MSTFNET, SLOWFASTSIGN

__all__ = ["SYSTEMS", "System", "Task"]


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
        loss_terms=terms("ctc", HEADS) | terms("distil", HEADS),
        make_loss=_sentence_loss,
        load_published=_load_mska,
    ),
    "mska_slt": System(
        task="slr",
        options=MskaSltOptions,
        inputs=KeypointInputs,
        losses=TranslationLossOptions,
        build=translation.build_mska_slt,
        heads=HEADS,
        ensemble=ensemble_logits,
        loss_terms=terms("ctc", HEADS) | terms("distil", HEADS) | translation.TRANSLATION,
        make_loss=translation.sign_to_text_loss,
        load_published=translation.load_mska_slt,
        starts=translation.starts("mska_slr"),
        conflict=translation.mska_conflict,
        translates=True,
    ),
    "g2t": System(
        task="slr",
        options=GlossToTextOptions,
        inputs=GlossInputs,
        losses=TranslationLossOptions,
        build=translation.build_g2t,
        heads=("given",),  # the annotated glosses stand where others recognise them
        ensemble=None,
        loss_terms=translation.TRANSLATION,
        make_loss=translation.gloss_to_text_loss,
        load_published=translation.load_g2t,
        starts={TRANSLATOR: TranslatorStart()},
        translates=True,
    ),
    "dsta_slr": System(
        task="islr",
        options=DstaOptions,
        inputs=SkeletonInputs,
        losses=SignLossOptions,
        build=DstaSlr,
        heads=SIGN_HEADS,
        ensemble=None,
        loss_terms=terms("cross_entropy", SIGN_HEADS),
        make_loss=_sign_loss,
        load_published=_load_dsta,
        begin_epoch=_begin_dsta_epoch,
    ),
    "singlestream_slr": SINGLE_STREAM,
    "twostream_slr": TWO_STREAM,
    "singlestream_slt": SINGLE_STREAM_SLT,
    "twostream_slt": TWO_STREAM_SLT,
    "slowfastsign": SLOWFASTSIGN,
    "mstfnet": MSTFNET,
    "corrnet": CORRNET,
}
