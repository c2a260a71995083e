"""Published parameter names of S3D (twostream.md, sections 2.6 and 17) ↔ ours, and loading of pretrained trunks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from models.errors import CheckpointError
from models.published.loading import Renames, load_published, renamed
from models.s3d.network import S3d

FIRST = "base.0.conv_s.weight"  # every published file of a trunk holds it, behind some prefix
KINETICS_CHANNELS = 3

RENAMES: Renames = (
    (r"\blayers\.(\d+)\.", r"base.\1."),
    (r"\.spatial\.conv\.", ".conv_s."),
    (r"\.spatial\.norm\.", ".bn_s."),
    (r"\.temporal\.conv\.", ".conv_t."),
    (r"\.temporal\.norm\.", ".bn_t."),
    (r"(base\.\d+)\.alone\.", r"\1.branch0.0."),
    (r"(base\.\d+)\.narrow\.0\.", r"\1.branch1.0."),
    (r"(base\.\d+)\.wide\.0\.", r"\1.branch1.1."),
    (r"(base\.\d+)\.narrow\.1\.", r"\1.branch2.0."),
    (r"(base\.\d+)\.wide\.1\.", r"\1.branch2.1."),
    (r"(base\.\d+)\.pooled\.", r"\1.branch3.1."),
    (r"(base\.\d+(?:\.branch\d\.\d)?)\.norm\.", r"\1.bn."),
)


def load(trunk: S3d, state: Mapping[str, Tensor]) -> None:
    """Fill `trunk` from a published state dict of just this trunk. Raises CheckpointError naming what is missing, extra or of another shape."""
    load_published(trunk, state, to_published=RENAMES)


def load_pretrained(trunk: S3d, state: Mapping[str, Tensor]) -> str:
    """Fill `trunk` from a pretrained file: Kinetics (`module.base…`), Kinetics and WLASL (`backbone.base…`), or a recogniser's trunk.

    Returns in one line what the file holds beyond the trunk (its classifier, later blocks), and that the first convolution keeps its random
    weights where this trunk reads other channels than the file's RGB, as published. Raises CheckpointError naming what is missing or of another shape.
    """
    prefix = _prefix(state)
    inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(f"{prefix}base.")}
    wanted = {renamed(name, RENAMES) for name in trunk.state_dict()}
    left_out = sorted(name for name in state if name.removeprefix(prefix) not in wanted)
    told = [f"{len(left_out)} entries of the file left out ({', '.join(sorted({_part(name, prefix) for name in left_out}))})"] if left_out else []
    taken = {name: value for name, value in inside.items() if name in wanted}
    channels = trunk.options.in_channels
    if channels != KINETICS_CHANNELS and FIRST in taken and taken[FIRST].shape[1] == KINETICS_CHANNELS:
        taken[FIRST] = trunk.get_parameter("layers.0.spatial.conv.weight").detach().clone()
        told.append(f"{FIRST} stays random: {channels} channels here, {KINETICS_CHANNELS} in the file")
    load_published(trunk, taken, to_published=RENAMES)
    return "; ".join(told)


def export(trunk: S3d) -> dict[str, Tensor]:
    """The state dict of `trunk` as the published program reads it."""
    return {renamed(name, RENAMES): published_shape(name, value) for name, value in trunk.state_dict().items()}


def published_shape(name: str, value: Tensor) -> Tensor:
    """The weight of one of our 2-D convolutions as that of a 3-D one; others as they are."""
    if value.dim() != 4:
        return value
    return value[..., None] if ".temporal." in name else value[:, :, None]


def _prefix(state: Mapping[str, Tensor]) -> str:
    found = sorted(name.removesuffix(FIRST) for name in state if name.endswith(FIRST))
    if len(found) != 1:
        raise CheckpointError(f"holds {len(found)} entries that end in {FIRST}, one was expected: not a file of one S3D trunk")
    return found[0]


def _part(name: str, prefix: str) -> str:
    """What an entry of a pretrained file belongs to, for people."""
    layer = re.match(r"base\.(\d+)\.", name.removeprefix(prefix))
    return f"base.{layer[1]}" if layer else name.removeprefix(prefix).split(".")[0]
