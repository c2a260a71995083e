"""What all tests share: the environment, one Ray cluster for the session, the folder of real samples where there is one."""

import os
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Before anything imports ray, mlflow or torch. Authentication is off because `ray job submit` and plain HTTP send no token.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_worker_niceness="0",  # by Ray's 15 its workers get a thirtieth of a core that other tests keep busy: what waits for them waits for minutes
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.3",
    RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="30",
    HF_HUB_OFFLINE="1",
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    MPLBACKEND="Agg",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each process that the tests start would compile all modules anew
for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)  # the tests of a developer must not reach the developer's cluster

from cluster.environment import REPOSITORY_ROOT, set_defaults  # noqa: E402
from tests.integration.head_node import HeadNode, start_head_node  # noqa: E402
from tests.store import Store, bucket_of, store_server  # noqa: E402

set_defaults()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`make test` runs two tests at a time, a file's in one process; all files that use the head node stay in one, so that there is one cluster."""
    from xdist.scheduler import LoadScopeScheduling

    class ByCluster(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return "cluster" if _uses_the_cluster(file) else file

    return ByCluster(config, log)


@cache
def _uses_the_cluster(file: str) -> bool:
    """Such a file names the type of the fixture that it asks for."""
    return "HeadNode" in (REPOSITORY_ROOT / file).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def head_node() -> Iterator[HeadNode]:
    """A Ray head node of the test session with four logical CPUs and a dashboard; nothing is connected to it."""
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as folder, start_head_node(Path(folder), num_cpus=4) as node:
        yield node


@pytest.fixture
def ray_cluster(head_node: HeadNode, monkeypatch: pytest.MonkeyPatch) -> HeadNode:
    """The session's head node as the cluster that RAY_ADDRESS names, for the time of one test; `connect()` finds it."""
    monkeypatch.setenv("RAY_ADDRESS", head_node.address)
    return head_node


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of specifications and real samples beside the repository; the test is skipped where it isn't."""
    folder = REPOSITORY_ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared, which is not part of the repository")
    return folder


@pytest.fixture(scope="session")
def store_address() -> Iterator[tuple[str, int]]:
    """Host and port of the session's S3-compatible store."""
    with store_server() as address:
        yield address


@pytest.fixture
def store(store_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    """A bucket of that store, named by the environment, for the time of one test; the local copies of places lie in its own folder."""
    monkeypatch.setenv("SIGNRAY_WORK", str(tmp_path / "work"))
    with bucket_of(store_address, monkeypatch) as store:
        yield store
