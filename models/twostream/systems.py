"""SingleStream-SLR and TwoStream-SLR as systems: their losses, and what their training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from models.batch import Batch, Heads
from models.inputs.inputs import Inputs
from models.losses.auxiliary import TwoStreamLossOptions, two_stream_losses
from models.losses.ctc import ctc_loss
from models.losses.options import LossOptions
from models.options import Options
from models.published.loading import read_checkpoint
from models.s3d import published as s3d_published
from models.s3d.layers import Mixed, PointConv, SeparableConv
from models.system import BundleStart, FileStart, Loss, System, terms
from models.twostream import published
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.heads import StreamHeads, ensemble_logits
from models.twostream.inputs import SingleStreamInputs, StreamInputs, TwoStreamInputs
from models.twostream.layers import Exchange, Upsample
from models.twostream.network import AUXILIARY_HEADS, HEADS, TwoStream
from models.twostream.single_stream import HEAD, SingleStream

SINGLE_SYSTEM, TWO_SYSTEM = "singlestream_slr", "twostream_slr"


def _single_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    def loss(heads: Heads, batch: Batch) -> dict[str, Tensor]:
        assert batch.targets is not None
        assert batch.target_lengths is not None
        return {f"ctc_{HEAD}": ctc_loss(heads.logits[HEAD], heads.lengths, batch.targets, batch.target_lengths)}

    return loss


def _two_stream_loss(options: LossOptions, class_counts: Sequence[int]) -> Loss:
    assert isinstance(options, TwoStreamLossOptions)

    def loss(heads: Heads, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(heads, StreamHeads)
        assert batch.targets is not None
        assert batch.target_lengths is not None
        return two_stream_losses(heads, heads.auxiliary, batch.targets, batch.target_lengths, options)

    return loss


def single_conflict(options: Options, inputs: Inputs, where: str = "network") -> str | None:
    """Why a single stream can't read such inputs; `where`: the key of its options."""
    assert isinstance(options, SingleStreamOptions)
    assert isinstance(inputs, SingleStreamInputs)
    if options.stream != inputs.stream:
        return f"inputs.stream is {inputs.stream}, but {where}.stream is {options.stream}: set both to the same"
    return _map_conflict(f"{where}.trunk", options.trunk.in_channels, inputs) if options.stream == "keypoint" else None


def two_stream_conflict(options: Options, inputs: Inputs, where: str = "network") -> str | None:
    """Why two streams can't read such inputs."""
    assert isinstance(options, TwoStreamOptions)
    assert isinstance(inputs, StreamInputs)
    return _map_conflict(f"{where}.keypoint", options.keypoint.in_channels, inputs)


def _map_conflict(trunk: str, channels: int, inputs: StreamInputs) -> str | None:
    if channels == len(inputs.points):
        return None
    return f"{trunk}.in_channels is {channels}, but inputs.parts make {len(inputs.points)} heatmaps"


def _load_single(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, SingleStream)
    published.load_single(network, read_checkpoint(checkpoint, key="model_state"))
    return ""


def _load_two_stream(network: nn.Module, checkpoint: Path, inputs: Inputs, unchecked: bool) -> str:
    assert isinstance(network, TwoStream)
    published.load_two_stream(network, read_checkpoint(checkpoint, key="model_state"))
    return ""


def _start_trunk(network: nn.Module, path: Path) -> str:
    assert isinstance(network, SingleStream)
    return s3d_published.load_pretrained(network.trunk, read_checkpoint(path, key="state_dict"))


def _start_rgb(network: nn.Module, other: nn.Module) -> None:
    _start_stream(network, "rgb", other)


def _start_keypoint(network: nn.Module, other: nn.Module) -> None:
    _start_stream(network, "keypoint", other)


def _start_stream(network: nn.Module, name: str, other: nn.Module) -> None:
    assert isinstance(network, TwoStream)
    assert isinstance(other, SingleStream)
    published.load_stream(network, name, other)


SINGLE_STREAM = System(
    task="slr",
    options=SingleStreamOptions,
    inputs=SingleStreamInputs,
    losses=LossOptions,
    build=SingleStream,
    heads=(HEAD,),
    ensemble=None,
    loss_terms=terms("ctc", (HEAD,)),
    make_loss=_single_loss,
    load_published=_load_single,
    starts={"trunk": FileStart(fill=_start_trunk)},
    conflict=single_conflict,
    recomputed=(SeparableConv, PointConv, Mixed),
    synchronised=True,
)
TWO_STREAM = System(
    task="slr",
    options=TwoStreamOptions,
    inputs=TwoStreamInputs,
    losses=TwoStreamLossOptions,
    build=TwoStream,
    heads=HEADS,
    ensemble=ensemble_logits,
    loss_terms=terms("ctc", (*HEADS, *AUXILIARY_HEADS)) | terms("distil", HEADS),
    make_loss=_two_stream_loss,
    load_published=_load_two_stream,
    starts={
        "rgb": BundleStart(system=SINGLE_SYSTEM, fill=_start_rgb),
        "keypoint": BundleStart(system=SINGLE_SYSTEM, fill=_start_keypoint),
    },
    conflict=two_stream_conflict,
    recomputed=(SeparableConv, PointConv, Mixed, Exchange, Upsample),
    synchronised=True,
)
