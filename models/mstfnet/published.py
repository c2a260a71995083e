"""MSTFNet's published parameter names, and the other names that released files may carry (mstfnet.md, section 7) ↔ ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from models.errors import CheckpointError
from models.mstfnet.levels import NUM_LEVELS
from models.mstfnet.network import MstfNet
from models.published.loading import Renames, renamed
from models.vac import published as family

Attention = Literal["per_level", "shared"]
RENAMES: Renames = (
    *((rf"^backbone\.fusions\.{index}\.", f"conv2d.stf{index + 1}.") for index in range(NUM_LEVELS)),
    (r"(stf\d)\.temporal\.", r"\1.t_convs."),
    (r"(t_convs\.[01])\.weight$", r"\1.0.weight"),
    (r"\.spatial\.([01])\.", r".s_convs.\1.0."),
    (r"(stf\d)\.norms\.([01])\.", r"\1.t_convs.\2.1."),
    (r"(stf\d)\.norms\.2\.", r"\1.s_convs.0.1."),
    (r"(stf\d)\.norms\.3\.", r"\1.s_convs.1.1."),
    (r"\.calibration\.2\.", ".calibration.3."),
    (r"\.calibration\.0\.", ".calibration.1."),
    (r"(stf\d)\.gate\.", r"\1.st_gate."),
    (r"^backbone\.", "conv2d."),
    (r"^temporal\.", "conv1d.temporal_conv."),
    (r"\.smooth_gate\.", ".weight1."),
    (r"\.detail_gate\.", ".weight2."),
    (r"(weight[12])\.norm\.", r"\1.insnorm."),
    (r"^recurrent\.", "temporal_model."),
    (r"^conv_classifier\.", "conv1d.fc."),
    *((rf"^levels\.attentions\.{index}\.", f"HFEAM.stse{index + 1}.") for index in range(NUM_LEVELS)),
    (r"\.squeeze\.", ".fc.0."),
    (r"\.excite\.", ".fc.2."),
    (r"\.inner\.", ".temporal_att.0."),
    (r"(stse\d)\.norm\.", r"\1.temporal_att.1."),
    (r"\.outer\.", ".temporal_att.3."),
    (r"^levels\.unused\.", "HFEAM.con1.1."),
    (r"^levels\.reduce\.0\.", "HFEAM.con2.0."),
    (r"^levels\.reduce\.1\.", "HFEAM.con3.0."),
    (r"^levels\.norms\.0\.", "HFEAM.con2.1."),
    (r"^levels\.norms\.1\.", "HFEAM.con3.1."),
    (r"^levels\.temporal\.", "HFEAM.tcn_layers."),
    (r"^levels\.features\.", "HFEAM.fc."),
)
# The same network under the names of compiled files that were left in the published tree, months before the release.
EARLIER: Renames = (
    (r"^conv2d\.shift(\d)\.", r"conv2d.stf\1."),
    (r"^(?:csa|CSA|HFEAM)\.stf(\d)\.", r"HFEAM.stse\1."),
    (r"^(?:csa|CSA)\.", "HFEAM."),
)


def attention_of(state: Mapping[str, Tensor]) -> Attention:
    """Which arrangement a released state dict speaks of: one attention, or three that are equal, is the shared one."""
    first, *others = (
        {name.split(".", 2)[2]: value for name, value in _renamed(state).items() if name.startswith(f"HFEAM.stse{level + 1}.")} for level in range(NUM_LEVELS)
    )
    alike = all(not other or (other.keys() == first.keys() and all(torch.equal(other[name], first[name]) for name in first)) for other in others)
    return "shared" if alike else "per_level"


def load(network: MstfNet, state: Mapping[str, Tensor]) -> list[str]:
    """Fill `network` with a released state dict; returns what was read under another name than the published one, a line each.

    Raises CheckpointError naming what is missing or unexpected, and where the file's arrangement of attention isn't the network's.
    """
    state = family.without_module(state)
    current = _renamed(state)
    notes = [f"{name} read as {new}" for name, new in zip(state, current, strict=True) if name != new]
    current, matched = _by_order(current, export(network))
    current = _one_for_all(current)
    found = attention_of(current)
    if found == "per_level" and network.options.attention == "shared":
        raise CheckpointError("attention per level, this network shares one among the levels: set attention to per_level")
    family.load(network, current, to_published=RENAMES, repeats=_repeats(network))
    return [*notes, *matched]


def export(network: MstfNet) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it."""
    return family.export(network, to_published=RENAMES, repeats=_repeats(network), shape=_shape)


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {renamed(name, EARLIER): value for name, value in state.items()}


def _by_order(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Entries of unknown names as those that are missing in the same top-level block, where their numbers and, in order, their shapes are the same."""
    known = dict(state)
    notes: list[str] = []
    for block in sorted({name.split(".")[0] for name in state}):
        unknown = [name for name in state if name not in wanted and name.startswith(f"{block}.")]
        missing = [name for name in wanted if name not in state and name.startswith(f"{block}.")]
        if unknown and [state[name].shape for name in unknown] == [wanted[name].shape for name in missing]:
            known |= {new: known.pop(name) for name, new in zip(unknown, missing, strict=True)}
            notes += [f"{name} read as {new}, by its place and shape" for name, new in zip(unknown, missing, strict=True)]
    return known, notes


def _one_for_all(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` whose only group of attention, where there is but one, stands under all three names."""
    groups = [level for level in range(1, NUM_LEVELS + 1) if any(name.startswith(f"HFEAM.stse{level}.") for name in state)]
    if len(groups) != 1:
        return dict(state)
    prefix = f"HFEAM.stse{groups[0]}."
    copies = {re.sub(r"stse\d", f"stse{level}", name): value for name, value in state.items() if name.startswith(prefix) for level in range(1, NUM_LEVELS + 1)}
    return {**state, **copies}


def _repeats(network: MstfNet) -> dict[str, str]:
    repeats = {f"conv1d.fc.{name}": f"classifier.{name}" for name, _ in network.classifier.named_parameters()} if network.conv_classifier is None else {}
    if network.options.attention == "shared":
        own = [renamed(f"levels.attentions.0.{name}", RENAMES) for name in network.levels.attentions[0].state_dict()]
        repeats |= {name.replace("stse1", f"stse{level}"): name for name in own for level in range(2, NUM_LEVELS + 1)}
    return repeats


def _shape(name: str, value: Tensor) -> tuple[int, ...]:
    if name.startswith("conv2d."):
        return family.conv2d_shape(name, value)
    return family.conv3d_shape("HFEAM.", name, value)
