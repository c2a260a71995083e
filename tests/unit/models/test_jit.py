"""Machine code on disk: found by a copy of its sources, made anew when a neighbour changes, and done without where nothing can be written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from models import jit as jit_module
from models.jit import jit

LOOP = """
from pathlib import Path
from models.jit import jit

@jit
def doubled(value):
    return 2 * value
"""


def copy_of(folder: Path, neighbour: str = "") -> ModuleType:
    """The loop's module in a folder of its own."""
    (folder / "loops").mkdir(parents=True)
    (folder / "loops" / "neighbour.py").write_text(neighbour)
    (folder / "loops" / "loop.py").write_text(LOOP)
    spec = importlib.util.spec_from_file_location("loop", folder / "loops" / "loop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.doubled(21) == 42
    return module


def test_a_copy_of_the_sources_finds_what_was_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    hits = [
        sum(copy_of(tmp_path / name, neighbour).doubled.stats.cache_hits.values())
        for name, neighbour in (("a", ""), ("b", ""), ("c", "SIZE = 3"), ("d", "SIZE = 3"))
    ]
    assert hits == [0, 1, 0, 1]
    assert len(list((tmp_path / "cache" / "signray" / "compiled").iterdir())) == 2


def test_where_no_cache_can_be_written_the_loop_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_module._Kept, "_locator_classes", [])

    def double(value: int) -> int:
        return 2 * value

    assert jit(double)(21) == 42
