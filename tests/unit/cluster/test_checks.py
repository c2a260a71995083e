"""The doctor's lines: what is red, and what it says to do."""

from __future__ import annotations

import socket
import tempfile
from dataclasses import replace
from threading import Thread

import pytest

from cluster import checks
from cluster.checks import GIB, Check
from cluster.doctor import table
from cluster.node_probe import NodeFacts, NodeProbe, reach
from tests.store import Store

FACTS = NodeFacts(
    host="a",
    versions={"python": "3.11.2", "ray": "2.60.0", "torch": "2.13.0", "deepspeed": "0.19.8", "signray": "0.1.0"},
    commit="0123456789abcdef",
    gpus=(),
    disk_folder="/tmp/ray/session",
    disk_free=100 * GIB,
    disk_total=200 * GIB,
    shm_free=8 * GIB,
    resolves_to_loopback=False,
)
NODES = {"a": FACTS, "b": replace(FACTS, host="b")}


def red(lines: list[Check] | Check) -> list[tuple[str, str, str]]:
    return [(line.where, line.verdict, line.advice) for line in (lines if isinstance(lines, list) else [lines]) if line.verdict != "ok"]


def test_a_cluster_of_one_mind_is_well() -> None:
    lines = [
        *checks.versions(FACTS, NODES),
        *checks.gpus(NODES, {}),
        *checks.disks(NODES),
        *checks.stores(NODES, {"a": GIB, "b": GIB}),
        *checks.names(NODES),
        *checks.clocks({"a": (0.1, 0.01), "b": (-1.9, 0.0)}),
        *checks.storage("/shared", {"a": None, "b": None}, {"a": [], "b": []}),
        checks.tracking("http://mlflow:5000", None),
        checks.bandwidth(2, 4_000_000, 0.1),
        checks.first_batch("data", 8, 1.0),
        checks.authentication(True, 2),
    ]
    assert red(lines) == []
    assert all(line.found for line in lines)


def test_other_versions_and_other_code() -> None:
    other = replace(FACTS, versions={**FACTS.versions, "torch": "2.12.0"}, commit=None)
    (failed, warned) = red(checks.versions(FACTS, {"b": other}))
    assert failed == ("b", "FAIL", "the driver has torch 2.13.0: install requirements.lock there")
    assert warned[1] == "warn"
    assert "the driver runs 0123456789" in warned[2]


def test_a_head_on_cpus_and_workers_with_gpus_are_of_one_torch() -> None:
    on_cpus = replace(FACTS, versions={**FACTS.versions, "torch": "2.13.0+cpu"})
    assert red(checks.versions(on_cpus, NODES)) == []
    assert red(checks.versions(FACTS, {"a": on_cpus})) == []
    other = replace(FACTS, versions={**FACTS.versions, "torch": "2.12.0+cpu"})
    assert red(checks.versions(on_cpus, {"a": other}))[0][2] == "the driver has torch 2.13.0+cpu: install requirements.lock there"


def test_gpus_that_ray_does_not_know() -> None:
    node = {"a": replace(FACTS, gpus=("H100, 80 GB, 550",) * 2)}
    assert red(checks.gpus(node, {"a": 2.0})) == []
    assert checks.gpus(node, {"a": 2.0})[0].found == "2: H100, 80 GB, 550"
    assert red(checks.gpus(node, {"a": 1.0}))[0][1:] == ("warn", "start the node with --num-gpus, or give the container its GPUs")


@pytest.mark.parametrize(("free", "verdict"), [(4, "FAIL"), (9, "warn"), (20, "ok")])
def test_disks(free: int, verdict: str) -> None:
    [line] = checks.disks({"a": replace(FACTS, disk_free=free * GIB, disk_total=100 * GIB)})
    assert line.verdict == verdict
    assert line.found == f"{free}.0 GiB free below /tmp/ray/session"


def test_object_stores() -> None:
    assert "--object-store-memory" in red(checks.stores(NODES, {"a": 1 << 20, "b": GIB}))[0][2]
    small = {"a": replace(FACTS, shm_free=64 << 20)}
    assert red(checks.stores(small, {"a": 2 * GIB}))[0][1] == "warn"


def test_host_names_that_lead_to_themselves() -> None:
    alone, two = {"a": replace(FACTS, resolves_to_loopback=True)}, {**NODES, "b": replace(FACTS, host="b", resolves_to_loopback=True)}
    assert checks.names(alone) == []
    assert "GLOO_SOCKET_IFNAME" in red(checks.names(two))[0][2]


def test_clocks_count_what_is_certain() -> None:
    assert red(checks.clocks({"a": (2.5, 1.0)})) == []
    assert red(checks.clocks({"a": (-2.5, 0.1)})) == [("a", "FAIL", "run an NTP client (chrony) on every node")]


def test_storage_that_is_not_shared() -> None:
    lines = red(checks.storage("/runs", {"a": "Permission denied", "b": None}, {"b": ["a"]}))
    assert [(where, advice.split(":")[0]) for where, _, advice in lines] == [
        ("a", "mount it there, writable by the user that runs Ray"),
        ("b", "every node must mount the same file system there"),
    ]


def test_tracking_network_shards_and_token() -> None:
    assert red(checks.tracking("http://x", "refused"))[0][1] == "FAIL"
    assert red(checks.bandwidth(2, 4_000_000, None, "Connection refused"))[0][1] == "FAIL"
    assert red(checks.bandwidth(2, 4_000_000, 10.0))[0][1] == "warn"
    assert red(checks.first_batch("data", 0, None, "no Parquet files there"))[0][1] == "FAIL"
    assert "larger shards" in red(checks.first_batch("data", 10_000, 15.0))[0][2]
    assert [red(checks.authentication(False, nodes))[0][1] for nodes in (1, 2)] == ["warn", "FAIL"]
    assert red(checks.authentication(None, 2))[0][1] == "warn"
    assert red(checks.silent("a", "timed out"))[0][1] == "FAIL"


def test_the_table_puts_what_to_do_below_the_line() -> None:
    text = table([checks.tracking("sqlite:///a", None), checks.silent("n1", "gone")], colour=False).splitlines()
    assert text[0] == "ok    MLflow  sqlite:///a"
    assert text[1] == "FAIL  node    n1: doesn't answer (gone)"
    assert text[2].strip().startswith("→ look at its log")
    assert text[3] == "2 checks, 1 failed, 0 to look at"
    assert "\033[31m" in table([checks.silent("n1", "gone")], colour=True)


def test_a_node_tells_of_itself_and_of_its_storage(tmp_path: object) -> None:
    probe = NodeProbe()
    facts = probe.facts()
    assert facts.versions["ray"] == "2.60.0"
    assert facts.disk_free > 0
    assert facts.disk_folder == tempfile.gettempdir(), "outside of a cluster"
    assert probe.write(str(tmp_path), "mark") is None
    assert probe.unread(str(tmp_path), ["mark", "other"]) == ["other"]
    assert probe.write(f"{tmp_path}/nowhere", "mark") == "No such file or directory"
    assert probe.all_reduce(0, 1, *("127.0.0.1", _port()), 10) >= 0


def test_a_node_tells_whether_it_reaches_a_store(store: Store) -> None:
    probe = NodeProbe()
    assert probe.write(f"{store.bucket}/runs", "mark") is None
    assert probe.unread(f"{store.bucket}/runs", ["mark", "other"]) == ["other"]
    reason = probe.write("s3://nobody-has-this/runs", "mark")
    [line] = checks.storage("s3://nobody-has-this/runs", {"n1": reason}, {})
    assert "has no bucket 'nobody-has-this'" in line.found
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where `ray start` runs" in line.advice


def test_tracking_servers_that_are_none(tmp_path: object) -> None:
    assert reach(f"sqlite:///{tmp_path}/mlflow.db") is None
    assert reach(f"http://127.0.0.1:{_port()}") is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        greeter = Thread(target=greet, args=(listener,))
        greeter.start()
        assert reach(f"http://127.0.0.1:{listener.getsockname()[1]}") is not None, "no HTTP"
        greeter.join()


def greet(listener: socket.socket) -> None:
    """As a mail server does, which speaks first."""
    with listener.accept()[0] as caller:
        caller.sendall(b"220 mail\r\n")
        caller.recv(1000)


def _port() -> int:
    from cluster.ray_cluster import free_port

    return free_port()
