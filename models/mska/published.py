"""MSKA's published parameter names (mska.md, section 10) ↔ ours."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.errors import CheckpointError
from models.heads.visual_head import MAX_STEPS
from models.mska.network import Mska
from models.positions import sinusoid
from models.published.loading import Renames, load_published, renamed

PREFIX = "recognition_network."
TABLES = r"\.pes\.pe$|\.pe\.pe$|\.atts$"  # position tables and an all-zero buffer: the architecture defines them

HEAD_RENAMES: Renames = (
    (r"input_norm\.", "bn1.norm."),
    (r"input\.", "fc1."),
    (r"ff_norm\.", "feedforward.layer_norm."),
    (r"ff_in\.", "feedforward.pwff_layer.0."),
    (r"ff_out\.", "feedforward.pwff_layer.3."),
    (r"output_norm\.", "layer_norm."),
    (r"classifier\.", "gloss_output_layer."),
)
RENAMES: Renames = (
    (r"^streams\.(\w+)\.input\.", r"visual_backbone_keypoint.\1_input_map.0."),
    (r"^streams\.(\w+)\.input_norm\.", r"visual_backbone_keypoint.\1_input_map.1."),
    (r"^streams\.(\w+)\.blocks\.", r"visual_backbone_keypoint.\1_graph_layers."),
    (r"\.attention\.query_key\.", ".in_nets."),
    (r"\.attention\.alpha$", ".alphas"),
    (r"\.attention\.base$", ".attention0s"),
    (r"\.attention\.out\.", ".out_nets.0."),
    (r"\.attention_norm\.", ".out_nets.1."),
    (r"\.feedforward_norm\.", ".ff_nets.1."),
    (r"(_graph_layers\.\d+)\.feedforward\.", r"\1.ff_nets.0."),
    (r"\.temporal\.", ".out_nett.0."),
    (r"\.temporal_norm\.", ".out_nett.1."),
    (r"\.attention_shortcut\.conv\.", ".downs1.0."),
    (r"\.attention_shortcut\.norm\.", ".downs1.1."),
    (r"\.feedforward_shortcut\.conv\.", ".downs2.0."),
    (r"\.feedforward_shortcut\.norm\.", ".downs2.1."),
    (r"\.temporal_shortcut\.conv\.", ".downt2.0."),
    (r"\.temporal_shortcut\.norm\.", ".downt2.1."),
    (r"^heads\.(\w+)\.", r"\1_visual_head."),
    *((rf"^(\w+_visual_head\.){pattern}", rf"\g<1>{replacement}") for pattern, replacement in HEAD_RENAMES),
)


def load(network: Mska, state: Mapping[str, Tensor]) -> None:
    """Fill `network` with a released MSKA-SLR checkpoint's `model` entry. Raises CheckpointError naming what doesn't fit."""
    width = state.get(f"{PREFIX}fuse_visual_head.fc1.weight")
    expected = network.options.head_inputs["fuse"]
    if width is not None and width.shape[1] * 4 == expected * 3:
        raise CheckpointError(
            f"the fuse head reads {width.shape[1]} features: an early revision (left, right, face; no body), whose order this network doesn't have"
        )
    load_published(network, state, to_published=RENAMES, prefix=PREFIX, ignored=TABLES)


def export(network: Mska) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it, position tables included."""
    state = {}
    published = {name: PREFIX + renamed(name, RENAMES) for name in network.state_dict()}
    for name, value in network.state_dict().items():
        state[published[name]] = value.reshape(_published_shape(published[name], value))
    return state | tables(network)


def tables(network: Mska) -> dict[str, Tensor]:
    """The constant entries of the published state dict: joint and step codes, and the unused all-zero maps."""
    options, constants = network.options, {}
    for stream, points in options.streams.items():
        frames = options.max_frames
        for index, block in enumerate(options.blocks):
            name = f"{PREFIX}visual_backbone_keypoint.{stream}_graph_layers.{index}"
            constants[f"{name}.atts"] = torch.zeros(1, options.num_subsets, len(points), len(points))
            constants[f"{name}.pes.pe"] = sinusoid(len(points), block.in_channels).T[None, :, None, :].repeat(1, 1, frames, 1)
            frames = int(frames / block.stride + 0.5)
    for head in options.head_inputs:
        constants[f"{PREFIX}{head}_visual_head.pe.pe"] = sinusoid(MAX_STEPS, options.head.hidden_size)[None]
    return constants


def _published_shape(name: str, value: Tensor) -> tuple[int, ...]:
    shape = tuple(value.shape)
    if name.endswith(".alphas"):
        return (1, *shape, 1, 1)
    if name.endswith(".attention0s"):
        return (1, *shape)
    if "_visual_head." in name or not name.endswith(".weight") or len(shape) == 1:
        return shape
    return (*shape, 1) if len(shape) == 3 else (*shape, 1, 1)
