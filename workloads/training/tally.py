"""Counting what autograd saves of a forward pass without keeping it, blocks whose activations are computed again told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

# A weak reference holds the storage's identity, not its memory: a forward of the longest clip fits where its backward wouldn't.
_Storages = dict[int, tuple[StorageWeakRef, int]]


class Tally:
    """Bytes of the storages that autograd saves, each counted once; not those of `own` tensors, which are there anyway."""

    def __init__(self, own: Iterable[Tensor]) -> None:
        self._own = {int(tensor.untyped_storage()._cdata) for tensor in own}
        self._kept: _Storages = {}
        self._block: _Storages | None = None
        self._most = self.largest = 0

    @property
    def peak(self) -> int:
        """Most bytes at once: all that is kept; or, before that, what is kept until a block and what the block has while it is computed again."""
        return max(self._most, _size(self._kept))

    def note(self, tensor: Tensor) -> None:
        """Packs a tensor that is saved, into nothing."""
        reference = StorageWeakRef(tensor.untyped_storage())
        if reference.cdata in self._own:
            return
        size = tensor.untyped_storage().nbytes()
        self.largest = max(self.largest, size)
        (self._kept if self._block is None else self._block).setdefault(reference.cdata, (reference, size))

    @contextmanager
    def inside(self, recomputed: Sequence[nn.Module]) -> Iterator[None]:
        """Counts of what `recomputed` blocks do only their inputs as kept."""
        with ExitStack() as hooks:
            for block in recomputed:
                hooks.callback(block.register_forward_pre_hook(self._enter).remove)
                hooks.callback(block.register_forward_hook(self._leave).remove)
            yield

    def _enter(self, block: nn.Module, inputs: tuple[Any, ...]) -> None:
        for value in inputs:
            if isinstance(value, Tensor):
                self.note(value)
        self._block = {}

    def _leave(self, block: nn.Module, inputs: tuple[Any, ...], outputs: object) -> None:
        assert self._block is not None
        others = {identity: entry for identity, entry in self._block.items() if identity not in self._kept}
        self._most, self._block = max(self._most, _size(self._kept) + _size(others)), None


def refuse(saved: None) -> Tensor:
    """Unpacks nothing."""
    raise AssertionError("what was only counted can't be differentiated")


def _size(storages: _Storages) -> int:
    return sum(size for _, size in storages.values())
