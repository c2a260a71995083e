"""SlowFastSign, MSTFNet and CorrNet as systems: their losses with the published weights, and what they start from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from models.batch import Batch, Heads
from models.corrnet import network as corrnet
from models.corrnet import published as corrnet_published
from models.corrnet.config import CorrNetOptions
from models.corrnet.correlation import Correlation
from models.inputs.inputs import Inputs
from models.losses.alignment import AlignmentLossOptions, alignment_losses
from models.losses.options import LossOptions
from models.mstfnet import network as mstfnet
from models.mstfnet import published as mstfnet_published
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.fusion import Fusion
from models.options import Options
from models.published.loading import read_checkpoint
from models.slowfastsign import network as slowfastsign
from models.slowfastsign import pretrained
from models.slowfastsign import published as slowfastsign_published
from models.slowfastsign.backbone import Bottleneck
from models.slowfastsign.config import SlowFastOptions
from models.system import FileStart, Loss, System, terms
from models.vac.config import SequenceOptions
from models.vac.inputs import FrameInputs
from models.vac.published import read
from models.vac.resnet import BasicBlock, Trunk, load_imagenet

ANSWERING = ("sequence", "conv")  # heads in evaluation


class CorrNetLossOptions(AlignmentLossOptions):
    """Losses of CorrNet: `ctc_<head>`, `distil_conv`."""

    published_weights: ClassVar[Mapping[str, float]] = corrnet.LOSS_WEIGHTS


class MstfNetLossOptions(AlignmentLossOptions):
    """Losses of MSTFNet: `ctc_<head>`, those of the levels included, and `distil_conv`."""

    published_weights: ClassVar[Mapping[str, float]] = mstfnet.LOSS_WEIGHTS


class SlowFastLossOptions(AlignmentLossOptions):
    """Losses of SlowFastSign: `ctc_<head>` and `distil_<head>` of the whole network, of the slow and of the fast branch."""

    published_weights: ClassVar[Mapping[str, float]] = slowfastsign.LOSS_WEIGHTS


def _alignment_loss(teachers: Mapping[str, str]) -> Callable[[LossOptions, Sequence[int]], Loss]:
    def make(options: LossOptions, class_counts: Sequence[int]) -> Loss:
        assert isinstance(options, AlignmentLossOptions)

        def loss(heads: Heads, batch: Batch) -> dict[str, Tensor]:
            assert batch.targets is not None
            assert batch.target_lengths is not None
            return alignment_losses(heads, batch.targets, batch.target_lengths, teachers=teachers, options=options)

        return loss

    return make


def _conflict(options: Options, inputs: Inputs) -> str | None:
    assert isinstance(options, SequenceOptions)
    assert isinstance(inputs, FrameInputs)
    if options.frame_size != inputs.crop:
        return f"inputs.crop is {inputs.crop}, but network.frame_size is {options.frame_size}: the network sees exactly what is cropped"
    return None


def _load_corrnet(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, corrnet.CorrNet)
    corrnet_published.load(network, read(checkpoint))
    return ""


def _load_mstfnet(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, mstfnet.MstfNet)
    notes = mstfnet_published.load(network, read(checkpoint))
    return f"{checkpoint}: {len(notes)} entries of other names, such as {notes[0]}" if notes else ""


def _load_slowfastsign(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, slowfastsign.SlowFastSign)
    slowfastsign_published.load(network, read(checkpoint))
    return ""


def _start_from_imagenet(network: nn.Module, path: Path) -> str:
    trunk = network.get_submodule("backbone")
    assert isinstance(trunk, Trunk)
    load_imagenet(trunk, read_checkpoint(path, key=None))
    return "the backbone's stem and stages are those of the file"


def _start_from_slowfast(network: nn.Module, path: Path) -> str:
    assert isinstance(network, slowfastsign.SlowFastSign)
    return str(pretrained.load_pretrained(network.backbone, pretrained.read_blobs(path)))


CORRNET = System(
    task="slr",
    options=CorrNetOptions,
    inputs=FrameInputs,
    losses=CorrNetLossOptions,
    build=corrnet.CorrNet,
    heads=ANSWERING,
    ensemble=None,
    loss_terms=terms("ctc", corrnet.HEADS) | terms("distil", corrnet.TEACHERS),
    make_loss=_alignment_loss(corrnet.TEACHERS),
    load_published=_load_corrnet,
    starts={"backbone": FileStart(fill=_start_from_imagenet)},
    conflict=_conflict,
    recomputed=(BasicBlock, Correlation),
    synchronised=True,
)
MSTFNET = System(
    task="slr",
    options=MstfNetOptions,
    inputs=FrameInputs,
    losses=MstfNetLossOptions,
    build=mstfnet.MstfNet,
    heads=ANSWERING,
    ensemble=None,
    loss_terms=terms("ctc", mstfnet.HEADS) | terms("distil", mstfnet.TEACHERS),
    make_loss=_alignment_loss(mstfnet.TEACHERS),
    load_published=_load_mstfnet,
    starts={"backbone": FileStart(fill=_start_from_imagenet)},
    conflict=_conflict,
    recomputed=(BasicBlock, Fusion),
    synchronised=True,
)
SLOWFASTSIGN = System(
    task="slr",
    options=SlowFastOptions,
    inputs=FrameInputs,
    losses=SlowFastLossOptions,
    build=slowfastsign.SlowFastSign,
    heads=ANSWERING,
    ensemble=None,
    loss_terms=terms("ctc", slowfastsign.HEADS) | terms("distil", slowfastsign.TEACHERS),
    make_loss=_alignment_loss(slowfastsign.TEACHERS),
    load_published=_load_slowfastsign,
    starts={"backbone": FileStart(fill=_start_from_slowfast)},
    conflict=_conflict,
    recomputed=(Bottleneck,),
    synchronised=True,
)
