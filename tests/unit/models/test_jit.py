"""Compiling without a folder for the compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import pytest

from models.jit import jit


def test_where_no_cache_can_be_written_the_loop_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def without_cache(*functions: Any, **options: Any) -> Callable[..., Any]:  # numba decorates its own with it when first used
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", without_cache)

    def double(value: int) -> int:
        return 2 * value

    assert jit(double)(21) == 42
