import os

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
