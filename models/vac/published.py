"""Released `.pt` files of the VAC family → state dicts, and these into our networks (cslr_common.md, section 10)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import CheckpointError
from models.pickles import numpy_dtype, numpy_scalar
from models.published.loading import Renames, load_published, read_checkpoint, renamed


def _array(subtype: type, _shape: object, _typecode: object) -> np.ndarray:
    if subtype is not np.ndarray:
        raise ValueError("a NumPy array of another class")
    return np.ndarray((0,), dtype=np.uint8)


# A released file holds the states of the random number generators beside the weights: NumPy arrays of numbers, made by these stand-ins.
_RANDOM_STATES: list[type | Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    np.ndarray,
    *(
        (stand_in, f"{module}.multiarray.{name}")
        for module in ("numpy.core", "numpy._core")
        for stand_in, name in ((_array, "_reconstruct"), (numpy_scalar, "scalar"))
    ),
    (numpy_dtype, "numpy.dtype"),
    *(type(np.dtype(code)) for code in ("?", "u1", "u4", "u8", "i4", "i8", "f4", "f8")),
]


def read(path: Path) -> dict[str, Tensor]:
    """State dict of a released file: its entry `model_state_dict`, or the file itself; `.module` cut. Raises CheckpointError; never runs code of the file."""
    with torch.serialization.safe_globals(_RANDOM_STATES):
        return without_module(read_checkpoint(path, key="model_state_dict"))


def without_module(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without the `module` that DataParallel puts into its names."""
    return {name.replace(".module.", ".").removeprefix("module."): value for name, value in state.items()}


def load(network: nn.Module, state: Mapping[str, Tensor], *, to_published: Renames, repeats: Mapping[str, str], ignored: str = r"(?!)") -> None:
    """Fill `network` from a released state dict, strictly and by name.

    repeats: published names that hold what another one holds, since there the two are one module; here there is one. Raises CheckpointError that
    names what is missing, unexpected, of another shape, or not the repetition that it should be.
    """
    state = without_module(state)
    for name, source in repeats.items():
        if name not in state:
            raise CheckpointError(f"not this network's checkpoint: missing {name}")
        if source in state and not torch.equal(state[name], state[source]):
            raise CheckpointError(f"{name} differs from {source}: a network with separate classifiers; build it with share_classifier off")
    rest = {name: value for name, value in state.items() if name not in repeats}
    load_published(network, rest, to_published=to_published, ignored=ignored)


def export(network: nn.Module, *, to_published: Renames, repeats: Mapping[str, str], shape: Callable[[str, Tensor], tuple[int, ...]]) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it; `shape` says how an entry lies in it."""
    state = {renamed(name, to_published): value for name, value in network.state_dict().items()}
    state = {name: value.reshape(shape(name, value)) for name, value in state.items()}
    return state | {name: state[source] for name, source in repeats.items()}


def conv3d_shape(backbone: str, name: str, value: Tensor) -> tuple[int, ...]:
    """Shape of an entry of a published `backbone` of 3-D convolutions: ours of single frames or of frames alone gain an axis."""
    size = tuple(value.shape)
    if len(size) != 4 or not name.startswith(backbone):
        return size
    over_time = size[3] == 1 and size[2] > 1
    return (*size, 1) if over_time else (*size[:2], 1, *size[2:])


conv2d_shape = functools.partial(conv3d_shape, "conv2d.")
