import os
import subprocess
import sys

import pytest

from cluster.environment import REPOSITORY_ROOT, quiet_logging, set_defaults, worker_environment


def test_defaults_leave_what_the_user_has_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    set_defaults()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "5"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_defaults_choose_no_authentication_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that somebody else started decides for itself."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    set_defaults()
    assert "RAY_AUTH_MODE" not in os.environ


def test_workers_get_the_repository_and_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"/elsewhere:{REPOSITORY_ROOT}")
    variables = worker_environment(threads=3)
    assert variables["PYTHONPATH"].split(":") == [str(REPOSITORY_ROOT), "/elsewhere"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert all(isinstance(value, str) for value in variables.values())


def test_workers_get_the_drivers_threads_or_leave_them_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert worker_environment()["OMP_NUM_THREADS"] == "2"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert "OMP_NUM_THREADS" not in worker_environment()


def test_quiet_logging_is_idempotent(recwarn: pytest.WarningsRecorder) -> None:
    quiet_logging()
    quiet_logging()
    assert not recwarn


def test_a_process_of_its_own_keeps_what_it_frees() -> None:
    """Page faults of large blocks that are made again and again: those of the first, not of each."""
    program = """
import resource, sys
import numpy as np
from cluster.environment import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
np.ones(4_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    kept, plain = (int(subprocess.run([sys.executable, "-c", program, way], capture_output=True, text=True, check=True).stdout) for way in ("kept", "plain"))
    assert kept < 0.1 * plain
