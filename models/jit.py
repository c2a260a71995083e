"""Numba's compiler as the loops of this package use it: without the interpreter's lock, kept on disk where that is possible."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, UserProvidedCacheLocator, UserWideCacheLocator

Function = TypeVar("Function", bound=Callable[..., Any])


class _ByContent(UserWideCacheLocator):  # type: ignore[misc]
    """Machine code by the content of its source's folder: a copy of the sources (a new clone, the package of a `ray job`) finds what another has compiled."""

    def __init__(self, py_func: Callable[..., Any], py_file: str) -> None:
        super().__init__(py_func, py_file)
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self._cache_path = str(root / "signray" / "compiled" / f"{Path(py_file).parent.name}-{_digest(Path(py_file).parent)}")


class _Kept(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes: ClassVar = [UserProvidedCacheLocator, _ByContent, *CompileResultCacheImpl._locator_classes]


class _KeptFunctions(FunctionCache):  # type: ignore[misc]
    _impl_class = _Kept


@cache
def _digest(folder: Path) -> str:
    """Of a folder's Python files: a loop is compiled again where one of its neighbours changes, whose constants and functions it holds."""
    content = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:16]


def jit(function: Function, *, fastmath: Collection[str] = (), inline: bool = False) -> Function:
    """`function` compiled at its first call, callable from several threads at once; `fastmath` names LLVM's liberties with sums and products.

    The machine code is kept in the user's cache folder (`NUMBA_CACHE_DIR` names another), by the content of the source's folder; where none can be
    written (a read-only image), every process compiles anew. Keep what calls one another in one folder: an edit elsewhere isn't noticed.
    """
    options: dict[str, Any] = {"nogil": True}
    if fastmath:
        options["fastmath"] = set(fastmath)
    if inline:
        options["forceinline"] = True
    compiled = numba.njit(**options)(function)
    with suppress(RuntimeError):  # numba found no folder
        compiled._cache = _KeptFunctions(function)
    return cast(Function, compiled)


def inlined(function: Function) -> Function:
    """As `jit`, but built into its compiled callers: a call would hand over each array as seven words."""
    return jit(function, inline=True)
