"""Numba's compiler as the loops of this package use it: without the interpreter's lock, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable)


def jit(function: Function) -> Function:
    """`function` compiled at its first call, callable from several threads at once.

    The machine code is cached beside the source or in the user's cache folder; where neither can be written (a read-only
    image), every process compiles anew.
    """
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba found no folder for its cache
        return cast(Function, numba.njit(nogil=True)(function))
