"""Activations that are computed again in the backward pass instead of kept: memory for about a third more time, the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_BatchNorm = nn.modules.batchnorm._BatchNorm


def recompute(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> int:
    """Let each of the `blocks` keep its inputs only while the network trains; returns how many there are."""
    chosen = blocks(network, kinds)
    for module in chosen:
        module.forward = _recomputed(module, module.forward)
    return len(chosen)


def blocks(network: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    """The modules of `kinds`, the outermost where they are nested."""
    inside: set[nn.Module] = set()
    found = []
    for module in network.modules():  # from the outside in
        if isinstance(module, kinds) and module not in inside:
            inside |= set(module.modules())
            found.append(module)
    return found


def _recomputed(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _untracked(module)

    def run(*values: Any, **named: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return forward(*values, **named)
        return checkpoint(forward, *values, use_reentrant=False, context_fn=contexts, **named)

    return run


@contextmanager
def _untracked(module: nn.Module) -> Iterator[None]:
    """Leaves the running statistics of batch norms as they are: the first pass has moved them."""
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    before = [(norm.momentum, None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if count is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(count)
