import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from cluster import ray_cluster
from cluster.ray_cluster import asks_for_token, connect, default_num_cpus, free_port

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9"),
        ("nowhere.invalid:6379", "no Ray cluster answers at nowhere.invalid:6379"),
        ("127.0.0.1:99999", "no Ray cluster answers at 127.0.0.1:99999"),
        ("head", "'head' is not host:port"),
        ("http://127.0.0.1:8265", "is a dashboard"),
    ],
)
def test_an_address_without_a_cluster_is_said_at_once(address: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=message) as error, connect(address=address):
        pass
    assert "\n" not in str(error.value)
    assert time.monotonic() - began < 45  # Ray itself would wait for 90 s


def test_a_listener_that_is_no_ray_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "CONNECT_TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "127.0.0.1:" + str(listener.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConnectionError, match="is no Ray head"), connect():
            pass


class Head(grpc.GenericRpcHandler):
    """Answers whatever it is asked as a head that was started with a token, or without."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            if self.token and ("authorization", f"Bearer {self.token}") not in details.invocation_metadata:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.mark.parametrize(("token", "asked"), [("a" * 64, True), (None, False)])
def test_whether_a_head_asks_for_a_token_is_asked_of_the_head(token: str | None, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this process hands over says nothing of it."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled" if asked else "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a" * 64)
    server = grpc.server(ThreadPoolExecutor(max_workers=1), handlers=[Head(token)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert asks_for_token(f"127.0.0.1:{port}") is asked
        monkeypatch.setenv("RAY_USE_TLS", "1")
        assert asks_for_token(f"127.0.0.1:{port}") is None
    finally:
        server.stop(None).wait()


def test_who_does_not_answer_says_nothing_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "CONNECT_TIMEOUT_S", 0.3)
    assert asks_for_token(f"127.0.0.1:{free_port()}") is None


def test_a_start_that_ray_gives_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own exception is a bare one; what it takes to see it is a machine that is overloaded."""

    def given_up(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", given_up)
    with pytest.raises(ConnectionError, match=r"^a private Ray didn't start \(The current node timed out during startup\.\); see that") as error, connect():
        pass
    assert "\n" not in str(error.value)


def test_ray_data_gets_a_cpu_beside_the_workers() -> None:
    assert default_num_cpus(num_workers=64) == 65
    assert default_num_cpus() >= 2


def test_ports_are_outside_rays_own_range() -> None:
    assert all(not 10002 <= free_port() <= 19999 for _ in range(20))


@pytest.mark.skipif(not EPHEMERAL.is_file(), reason="the system doesn't say from which ports it serves connections that go out")
def test_ports_are_outside_the_systems_own_range_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    first, last = map(int, EPHEMERAL.read_text().split())
    assert all(first < 21000 or not first <= free_port() <= last for _ in range(20))
    monkeypatch.setattr(Path, "read_text", lambda _: "1024 65535")
    assert free_port() >= 1024
    assert ray_cluster._candidate() == 0


def test_a_process_has_one_token_for_all_its_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray keeps the first that it has seen."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    tokens = set()
    for _ in range(2):
        ray_cluster._lock_with_token()
        tokens.add(os.environ.pop("RAY_AUTH_TOKEN"))
    assert len(tokens) == 1


def test_variables_that_a_job_has_set_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "2"}}}))
    assert ray_cluster._job_variables() == {"OMP_NUM_THREADS"}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": None}))
    assert ray_cluster._job_variables() == set()
