"""Stands for Ray's metrics, of which the values can't be read back in the process that sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Told:
    """One call: `set` or `inc`, of which metric, with which tags."""

    how: str
    name: str
    value: float
    tags: Mapping[str, str]


class Recorder:
    """A gauge or a counter; what all of them are told is kept in one list."""

    told: list[Told]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: Mapping[str, str]) -> None:
        self._keep("set", value, tags)

    def inc(self, value: float = 1.0, *, tags: Mapping[str, str]) -> None:
        assert value > 0
        self._keep("inc", value, tags)

    def _keep(self, how: str, value: float, tags: Mapping[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.told.append(Told(how, self.name, value, tags))


def record_metrics(monkeypatch: pytest.MonkeyPatch, module: object) -> list[Told]:
    """Put recorders in the place of a module's `Gauge` and `Counter`; the list of what they are told."""
    monkeypatch.setattr(Recorder, "told", [], raising=False)
    for kind in ("Gauge", "Counter"):
        monkeypatch.setattr(module, kind, Recorder)
    return Recorder.told


def values_of(told: list[Told]) -> dict[tuple[str, ...], float]:
    """What a scrape would find: by name and the tags' values."""
    values: dict[tuple[str, ...], float] = {}
    for call in told:
        key = (call.name, *call.tags.values())
        values[key] = call.value + (values.get(key, 0) if call.how == "inc" else 0)
    return values
