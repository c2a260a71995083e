"""How long a run waits for workers."""

from __future__ import annotations

import pytest

from workloads.training.workers import _start_attempts


@pytest.mark.parametrize(("address", "timeout", "attempts"), [(None, None, 2), ("local", "15", 2), ("10.0.0.1:6379", None, 30), ("auto", "15", 120)])
def test_a_cluster_may_have_to_bring_nodes_up(monkeypatch: pytest.MonkeyPatch, address: str | None, timeout: str | None, attempts: int) -> None:
    for name, value in (("RAY_ADDRESS", address), ("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", timeout)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert _start_attempts() == attempts
