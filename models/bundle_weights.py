"""The weights of a bundle: a state dict to a safetensors file and back. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.errors import BundleError


def write_weights(path: Path, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Write `state` with floating-point tensors as float32; returns tensors that share the memory of another (left out) → that one's name."""
    tied: dict[str, str] = {}
    kept: dict[str, Tensor] = {}
    seen: dict[object, str] = {}
    for name in sorted(state):
        place = _place(state[name])
        if place in seen:
            tied[name] = seen[place]
            continue
        seen[place] = name
        tensor = state[name].detach().cpu()
        kept[name] = (tensor.float() if tensor.is_floating_point() else tensor).contiguous().clone()
    save_file(kept, path, metadata={"format": "pt"})
    return tied


def fill_network(network: nn.Module, path: Path, tied: Mapping[str, str]) -> None:
    """Fill `network` from a weights file, strictly. Raises BundleError that names what is missing, unexpected or of another shape."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{path}: not a readable weights file ({' '.join(str(error).split())[:100]}): copy the bundle again") from None
    state |= {name: state[source] for name, source in tied.items() if source in state}
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        count, kind, name = (len(missing), "lack", missing[0]) if missing else (len(extra), "hold unknown", extra[0])
        raise BundleError(f"{path}: the weights don't fit the bundle's options: they {kind} {name!r}" + (f" and {count - 1} more" if count > 1 else ""))
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise BundleError(
                f"{path}: the weights don't fit the bundle's options: {name} is {tuple(state[name].shape)}, the network has {tuple(tensor.shape)}"
            )
    network.load_state_dict(state)


def _place(tensor: Tensor) -> object:
    """Equal for tensors that are the same memory seen in the same way; unlike for empty ones and those without memory."""
    if tensor.device.type == "meta" or tensor.numel() == 0:
        return object()
    return tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()


def built(build: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    """`build(*arguments)` with the random numbers of this process left as they were: a network that is filled at once."""
    with torch.random.fork_rng(devices=[]):
        return build(*arguments)
