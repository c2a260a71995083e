"""What was measured last, a benchmark at a time: kept beside RESULTS.md, so that one can be measured anew without the others."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figure import Figure
from tests.benchmarks.machine import Machine


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The figures of one benchmark. date: of the day; seconds: how long they took; machine: as it was before the start."""

    date: str
    seconds: float
    machine: Machine
    figures: tuple[Figure, ...]


def read_results(path: Path) -> dict[str, Measured]:
    """By benchmark; empty where nothing was kept."""
    if not path.exists():
        return {}
    return {name: _measured(record) for name, record in json.loads(path.read_text(encoding="utf-8")).items()}


def write_results(path: Path, results: dict[str, Measured]) -> None:
    """As JSON that a diff can be read of."""
    records = {name: asdict(measured) for name, measured in results.items()}
    path.write_text(json.dumps(records, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measured(record: dict[str, Any]) -> Measured:
    figures = tuple(Figure(**{**figure, "rounds": tuple(figure["rounds"])}) for figure in record["figures"])
    return Measured(date=record["date"], seconds=record["seconds"], machine=Machine(**record["machine"]), figures=figures)
