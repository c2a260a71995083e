"""Numba's compiler as the loops of this package use it: without the interpreter's lock, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable)


def jit(function: Function, *, fastmath: Collection[str] = (), inline: bool = False) -> Function:
    """`function` compiled at its first call, callable from several threads at once; `fastmath` names LLVM's liberties with sums and products.

    The machine code is cached beside the source or in the user's cache folder; where neither can be written (a read-only
    image), every process compiles anew. The cache notices an edit of the function's own file only: keep what calls one another in one file.
    """
    options: dict[str, Any] = {"nogil": True}
    if fastmath:
        options["fastmath"] = set(fastmath)
    if inline:
        options["forceinline"] = True
    try:
        return cast(Function, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # numba found no folder for its cache
        return cast(Function, numba.njit(**options)(function))


def inlined(function: Function) -> Function:
    """As `jit`, but built into its compiled callers: a call would hand over each array as seven words."""
    return jit(function, inline=True)
