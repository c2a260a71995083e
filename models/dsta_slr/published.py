"""DSTA-SLR's published parameter names and checkpoint files (dsta_slr.md, section 8) ↔ ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.dsta_slr.diagnosis import StreamGuess, check_stream
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.streams import Stream
from models.pickles import numpy_dtype, numpy_scalar
from models.published.loading import Renames, load_published, read_checkpoint, renamed

RENAMES: Renames = (
    (r"^input_norm\.", "data_bn."),
    (r"^blocks\.", "layers."),
    (r"^classifier\.", "fc."),
    (r"\.adjacency$", ".A"),
    (r"\.spatial\.", ".san."),
    (r"\.san\.input$", ".san.Linear_weight"),
    (r"\.san\.input_bias$", ".san.Linear_bias"),
    (r"\.san\.input_norm\.", ".san.bn0."),
    (r"\.san\.norm\.", ".san.bn."),
    (r"\.san\.attention_norm\.", ".san.norm1."),
    (r"\.san\.query_key\.", ".san.in_nets."),
    (r"\.san\.alpha$", ".san.alphas"),
    (r"\.san\.graph$", ".san.attention0s"),
    (r"\.san\.mlp_norm\.", ".san.norm2."),
    (r"\.san\.mlp\.inner\.", ".san.mlp.fc1."),
    (r"\.san\.mlp\.outer\.", ".san.mlp.fc2."),
    (r"\.san\.shortcut\.conv\.", ".san.down.0."),
    (r"\.san\.shortcut\.norm\.", ".san.down.1."),
    (r"\.edges\.", ".Edge_conv."),
    (r"\.Edge_conv\.norm\.", ".Edge_conv.norm1."),
    (r"\.Edge_conv\.features$", ".Edge_conv.edge_features"),
    (r"\.Edge_conv\.alpha$", ".Edge_conv.alphas"),
    (r"\.gates\.joints\.", ".conv_sa."),
    (r"\.gates\.frames\.", ".conv_ta."),
    (r"\.gates\.squeeze\.", ".fc1c."),
    (r"\.gates\.excite\.", ".fc2c."),
    (r"\.temporal\.0\.", ".tcn."),
    (r"\.temporal\.1\.", ".tcn2."),
    (r"\.temporal\.2\.", ".tcn3."),
    (r"\.short\.(weight|bias)$", r".branches.0.conv.\1"),
    (r"\.long\.(weight|bias)$", r".branches.1.conv.\1"),
    (r"\.short\.norm\.", ".branches.0.bn."),
    (r"\.long\.norm\.", ".branches.1.bn."),
    (r"^(layers\.\d+)\.shortcut\.depthwise_", r"\1.residual.pool.net.0."),
    (r"^(layers\.\d+)\.shortcut\.pointwise\.", r"\1.residual.pool.net.1."),
    (r"^(layers\.\d+)\.shortcut\.norm\.", r"\1.residual.bn."),
)

# Accuracies lie in the file as NumPy scalars; stand-ins that make numbers only are called in place of NumPy's functions (1 and 2).
_SCALARS: list[type | Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (numpy_scalar, "numpy.core.multiarray.scalar"),
    (numpy_scalar, "numpy._core.multiarray.scalar"),
    (numpy_dtype, "numpy.dtype"),
    *(type(np.dtype(code)) for code in ("?", "i4", "i8", "f2", "f4", "f8")),
]


def read(path: Path) -> dict[str, Tensor]:
    """State dict of a released `.pt` file: its entry `weights`, or the file itself; `module.` cut. Raises CheckpointError; never runs code of the file."""
    with torch.serialization.safe_globals(_SCALARS):
        state = read_checkpoint(path, key="weights")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load(network: DstaSlr, state: Mapping[str, Tensor], *, stream: Stream, any_stream: bool = False) -> StreamGuess:
    """Fill `network`, which is to read `stream`, with a released state dict, and say which stream its statistics speak of.

    Raises CheckpointError naming entries that are missing, unexpected or of another shape, and where the statistics speak clearly of another
    stream than `stream`, unless `any_stream`.
    """
    state = {name.removeprefix("module."): value for name, value in state.items()}
    guess = check_stream(state, stream, any_stream=any_stream)
    load_published(network, {name: _to_ours(name, value) for name, value in state.items()}, to_published=RENAMES)
    return guess


def export(network: DstaSlr) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it."""
    named = ((renamed(name, RENAMES), value) for name, value in network.state_dict().items())
    return {name: to_published(name, value) for name, value in named}


def to_published(name: str, value: Tensor) -> Tensor:
    """An entry of ours, or its gradient, in the shape that it has under the published `name`."""
    shape = tuple(value.shape)
    if re.search(TEMPORAL, name):
        return value.permute(2, 1, 0)[..., None].contiguous()
    return value.reshape(next((wider(shape) for pattern, wider in _SHAPES if re.search(pattern, name)), shape))


def _to_ours(name: str, value: Tensor) -> Tensor:
    return value[..., 0].permute(2, 1, 0) if re.search(TEMPORAL, name) and value.dim() == 4 else value


TEMPORAL = r"\.branches\.\d\.conv\.weight$"  # (O, C, kernel, 1); ours (kernel, C, O)
_SHAPES: tuple[tuple[str, Callable[[tuple[int, ...]], tuple[int, ...]]], ...] = (
    (r"\.attention0s$", lambda shape: (1, *shape)),
    (r"\.Edge_conv\.alphas$", lambda shape: (1, 1, *shape, 1)),
    (r"\.alphas$|\.Linear_bias$", lambda shape: (1, *shape, 1, 1)),
    (r"\.net\.0\.weight$", lambda shape: (*shape, 1, 1, 1)),
    (r"\.(in_nets|transform|net\.1|down\.0)\.weight$", lambda shape: (*shape, 1, 1)),
)
