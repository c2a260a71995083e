"""Loading what the published programs saved: names and shapes of theirs → ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from models.errors import CheckpointError

Renames = Sequence[tuple[str, str]]  # (pattern, replacement) of re.sub, each applied in order


def renamed(name: str, renames: Renames) -> str:
    """Our name for `name`, or theirs, depending on the direction of `renames`."""
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def load_published(network: nn.Module, state: Mapping[str, Tensor], *, to_published: Renames, prefix: str = "", ignored: str = r"(?!)") -> None:
    """Fill `network` from a published state dict, strictly and by name.

    to_published: our name → theirs; prefix: what their names start with; ignored: pattern of their entries that are tables, not weights.
    Shapes may differ by axes of length one. Raises CheckpointError that names what is missing, extra or of another shape.
    """
    ours = network.state_dict()
    wanted = {prefix + renamed(name, to_published): name for name in ours}
    missing = sorted(wanted.keys() - state.keys())
    extra = sorted(name for name in state if name not in wanted and not re.search(ignored, name))
    if missing or extra:
        raise CheckpointError(f"not this network's checkpoint: {_some('missing', missing)}{'; ' if missing and extra else ''}{_some('unexpected', extra)}")
    for published, name in wanted.items():
        if _squeezed(state[published]) != _squeezed(ours[name]):
            raise CheckpointError(
                f"{published}: shape {tuple(state[published].shape)}, this network has {tuple(ours[name].shape)}: check the widths and the vocabulary"
            )
    network.load_state_dict({name: state[published].reshape(ours[name].shape) for published, name in wanted.items()})


def read_checkpoint(path: Path, *, key: str | None = "model") -> dict[str, Tensor]:
    """State dict of a published `.pth` file (the entry `key` of its dict, where there is one). Raises CheckpointError; never runs code of the file."""
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a checkpoint that loads without running code from it ({type(error).__name__}): ask its author for weights only"
        ) from None
    state = record.get(key, record) if isinstance(record, dict) and key else record
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: holds no state dict of tensors: expected one under {key!r}")
    return state


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    return tuple(size for size in tensor.shape if size != 1)


def _some(what: str, names: list[str]) -> str:
    return f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}" if names else ""
