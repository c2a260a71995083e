"""Numba's compiler as the loops of this package use it: without the interpreter's lock, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable)


def jit(function: Function, *, fastmath: Collection[str] = ()) -> Function:
    """`function` compiled at its first call, callable from several threads at once; `fastmath` names LLVM's liberties with sums and products.

    The machine code is cached beside the source or in the user's cache folder; where neither can be written (a read-only
    image), every process compiles anew.
    """
    options = {"nogil": True, "fastmath": set(fastmath)} if fastmath else {"nogil": True}
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no folder for its cache
        return cast(Function, numba.njit(**options)(function))
