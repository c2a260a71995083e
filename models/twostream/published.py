"""Published parameter names of SingleStream-SLR and TwoStream-SLR (twostream.md, section 17) ↔ ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from models.heads.visual_head import MAX_STEPS
from models.mska.config import HeadOptions
from models.mska.published import HEAD_RENAMES
from models.positions import sinusoid
from models.published.loading import Renames, load_published, renamed
from models.s3d.published import RENAMES as TRUNK_RENAMES
from models.s3d.published import published_shape
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream

PREFIX = "recognition_network."
TABLES = r"\.pe\.pe$"  # position tables: the architecture defines them
BACKBONES = {"rgb": "visual_backbone.backbone.", "keypoint": "visual_backbone_keypoint.backbone."}
HEADS = {
    "rgb": "visual_head",
    "keypoint": "visual_head_keypoint",
    "fuse": "visual_head_fuse",
    "rgb_aux_0": "visual_head_remain.0",
    "rgb_aux_1": "visual_head_remain.1",
    "keypoint_aux_0": "visual_head_keypoint_remain.0",
    "keypoint_aux_1": "visual_head_keypoint_remain.1",
}
STREAMS = {"rgb": "rgb_stream", "keypoint": "pose_stream"}
TWO_STREAM_RENAMES: Renames = (
    *((rf"^trunks\.{ours}\.", f"{theirs}.backbone.") for ours, theirs in STREAMS.items()),
    *((rf"^pyramids\.{ours}\.upsamples\.", f"{theirs}.pyramid.upsample_layers.") for ours, theirs in STREAMS.items()),
    (r"(upsample_layers\.\d)\.spatial\.conv\.", r"\1.conv_trans_s."),
    (r"(upsample_layers\.\d)\.temporal\.conv\.", r"\1.conv_trans_t."),
    *TRUNK_RENAMES,
    (r"^(?=rgb_stream|pose_stream)", "visual_backbone_twostream."),
    *((rf"^heads\.{ours}\.", f"{theirs}.") for ours, theirs in HEADS.items()),
    *((rf"^(visual_head[\w.]*\.){pattern}", rf"\g<1>{theirs}") for pattern, theirs in HEAD_RENAMES),
)


def load_single(network: SingleStream, state: Mapping[str, Tensor]) -> None:
    """Fill `network` from the `model_state` of a released single-stream recogniser, strictly. Raises CheckpointError naming what doesn't fit.

    Older keypoint checkpoints call their head as that of an RGB stream; both names are read.
    """
    load_published(network, state, to_published=_single_renames(network, state), prefix=PREFIX, ignored=TABLES)


def load_two_stream(network: TwoStream, state: Mapping[str, Tensor]) -> None:
    """Fill `network` from the `model_state` of a released two-stream recogniser, strictly. Raises CheckpointError naming what doesn't fit."""
    load_published(network, state, to_published=_two_stream_renames(network), prefix=PREFIX, ignored=TABLES)


def load_heads(network: SingleStream | TwoStream, state: Mapping[str, Tensor]) -> None:
    """The heads of a released translator, which was trained on extracted features and holds no trunk. Raises CheckpointError."""
    _load_part(network, state, f"{PREFIX}visual_head")


def load_trunks(network: SingleStream | TwoStream, state: Mapping[str, Tensor]) -> None:
    """What extracts features, of the released recogniser that a released translator learned on. Raises CheckpointError."""
    _load_part(network, state, f"{PREFIX}visual_backbone")


def load_streams(network: TwoStream, rgb: SingleStream, keypoint: SingleStream) -> None:
    """Start joint training from two trained streams: trunks and single heads are theirs, the rest stays random (twostream.md, section 11, stage 3)."""
    load_stream(network, "rgb", rgb)
    load_stream(network, "keypoint", keypoint)


def load_stream(network: TwoStream, name: str, stream: SingleStream) -> None:
    """Trunk and head of one stream as they were trained alone. Raises ValueError for a network of the other stream."""
    if stream.options.stream != name:
        raise ValueError(f"the {name} stream was given a network of the {stream.options.stream} stream")
    network.trunks[name].load_state_dict(stream.trunk.state_dict())
    network.heads[name].load_state_dict(stream.head.state_dict())


def export_single(network: SingleStream) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it, position tables included."""
    return _exported(network.state_dict(), _single_renames(network, {})) | _tables([HEADS[network.options.stream]], network.options.head)


def export_two_stream(network: TwoStream) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it, position tables included."""
    return _exported(network.state_dict(), _two_stream_renames(network)) | _tables(list(HEADS.values()), network.options.head)


def _load_part(network: SingleStream | TwoStream, state: Mapping[str, Tensor], start: str) -> None:
    """Those entries whose names begin with `start`, strictly; what only teaches is passed over where the network is without."""
    export, load = (export_single, load_single) if isinstance(network, SingleStream) else (export_two_stream, load_two_stream)
    passed_over = r"\.pyramid\.|_remain\." if not getattr(network, "auxiliary", True) else r"(?!)"
    part = {name: value for name, value in state.items() if name.startswith(start) and not re.search(passed_over, name)}
    rest = {name: value for name, value in export(network).items() if not name.startswith(start)}  # type: ignore[arg-type]
    load(network, rest | part)  # type: ignore[arg-type]


def _exported(state: Mapping[str, Tensor], renames: Renames) -> dict[str, Tensor]:
    return {PREFIX + renamed(name, renames): published_shape(name, value) for name, value in state.items()}


def _tables(heads: list[str], options: HeadOptions) -> dict[str, Tensor]:
    if not options.position:
        return {}
    return {f"{PREFIX}{head}.pe.pe": sinusoid(MAX_STEPS, options.hidden_size)[None] for head in heads}


def _single_renames(network: SingleStream, state: Mapping[str, Tensor]) -> Renames:
    stream = network.options.stream
    head = HEADS[stream]
    if state and not any(name.startswith(f"{PREFIX}{head}.") for name in state):
        head = HEADS["rgb"]
    return (
        (r"^trunk\.", BACKBONES[stream]),
        *TRUNK_RENAMES,
        (r"^head\.", f"{head}."),
        *((rf"^(visual_head\w*\.){pattern}", rf"\g<1>{theirs}") for pattern, theirs in HEAD_RENAMES),
    )


def _two_stream_renames(network: TwoStream) -> Renames:
    """With the laterals numbered in their order, whichever blocks they stand behind."""
    laterals = [
        (rf"^exchanges\.{block}\.{ours}\.", f"visual_backbone_twostream.{theirs}_lateral.{index}.")
        for ours, theirs in (("to_rgb", "rgb_stream"), ("to_keypoint", "pose_stream"))
        for index, block in enumerate(network.options.lateral_blocks)
    ]
    return (*laterals, *TWO_STREAM_RENAMES)
