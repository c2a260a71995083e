"""What the cluster's own tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.benchmarks.machine import this_machine
from tests.integration.cluster.record import FIGURES, Record


@pytest.fixture
def record() -> Iterator[Record]:
    """Where figures go; one beyond its limit fails the test at its end."""

    def machine() -> str:
        found = this_machine()
        return f"{found.cpu}, {found.cores} cores, load {found.load:.1f}"

    made = Record(FIGURES, machine)
    yield made
    assert made.missed == []
