"""Connect to the Ray cluster that is there, or start a private one on this host.

A cluster that this process didn't start is never stopped; a private one leaves no process and no folder behind.
"""

import json
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cluster.environment import set_defaults, worker_environment
from cluster.reaper import start_reaper

CONNECT_TIMEOUT_S = 5.0
PREEMPTION_WATCHER = "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"  # an actor for each training; nobody takes a private cluster's only node away by notice
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """A connected cluster: GCS address `host:port`, dashboard URL or None, CPUs and GPUs in all, whether this process started it."""

    address: str
    dashboard_url: str | None
    num_cpus: float
    num_gpus: float
    private: bool


@contextmanager
def connect(
    *,
    num_cpus: int | None = None,
    address: str | None = None,
    object_store_bytes: int | None = None,
    dashboard: bool = False,
    threads: int | None = None,
    driver_logs: bool = True,
) -> Iterator[ClusterInfo]:
    """Yield the cluster to work on, connected.

    With `address` or RAY_ADDRESS (set inside a `ray job`) it is that cluster, and `num_cpus`, `object_store_bytes` and
    `dashboard` don't apply; otherwise (or with "local") a private one of `num_cpus` logical CPUs. `threads` are the OpenMP threads
    per worker; `driver_logs` shows the workers' output here. Ray Tune over Ray Train needs `dashboard=True`: a stopped trial's
    workers are released through it.

    Raises ConnectionError, within some seconds, when no cluster answers at the address.
    """
    set_defaults()
    wanted = address or os.environ.get("RAY_ADDRESS") or "local"
    if wanted == "local":
        with _private(num_cpus or default_num_cpus(), object_store_bytes, dashboard, threads, driver_logs) as info:
            yield info
    else:
        with _existing(wanted, threads, driver_logs) as info:
            yield info


def default_num_cpus(num_workers: int | None = None) -> int:
    """Logical CPUs of a private cluster: one per Train worker, or per core, and one more for Ray Data.

    Without the one more Ray Data gets no CPU beside the Train workers, and training hangs silently.
    """
    return max(num_cores(), num_workers or 1) + 1


def num_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _existing(address: str, threads: int | None, driver_logs: bool) -> Iterator[ClusterInfo]:
    import ray

    _require_answer(address)
    environment = {name: value for name, value in worker_environment(threads=threads).items() if name not in _job_variables()}
    if _in_job():
        environment.pop("PYTHONPATH", None)  # the job's working directory is unpacked on every node, and on the path there
    if ":" in address:
        environment["RAY_ADDRESS"] = address.removeprefix("ray://")  # with a second cluster on the host, Train's own actors find theirs only by this
    try:
        context = ray.init(address=address, log_to_driver=driver_logs, logging_level=logging.ERROR, runtime_env={"env_vars": environment})
    except (ConnectionError, RuntimeError) as error:
        raise ConnectionError(f"Ray at {address} refused the connection ({_first_line(error)}); check the address and RAY_AUTH_MODE.") from error
    try:
        yield _info(context.dashboard_url, private=False)
    finally:
        ray.shutdown()


@contextmanager
def _private(num_cpus: int, object_store_bytes: int | None, dashboard: bool, threads: int | None, driver_logs: bool) -> Iterator[ClusterInfo]:
    import ray

    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp" if os.path.isdir("/tmp") else None))  # short: unix socket paths are limited to 107 bytes
    port = free_port()
    reaper = start_reaper(folder)
    variables = {**worker_environment(threads=threads), "RAY_ADDRESS": f"{ray.util.get_node_ip_address()}:{port}"}
    variables |= {PREEMPTION_WATCHER: os.environ.get(PREEMPTION_WATCHER, "0")}
    _lock_with_token()
    try:
        # The port of our choice, because the workers' RAY_ADDRESS must be known before the start.
        with _environment(RAY_GCS_SERVER_PORT=str(port), RAY_ADDRESS=None), _starting():
            context = ray.init(
                address="local",
                num_cpus=num_cpus,
                object_store_memory=object_store_bytes,
                include_dashboard=dashboard,
                _temp_dir=str(folder),
                log_to_driver=driver_logs,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": variables},
            )
        yield _info(context.dashboard_url, private=True)
    finally:
        ray.shutdown()
        reaper.communicate()


@contextmanager
def _starting() -> Iterator[None]:
    """Raises ConnectionError where Ray gives a start up, which it says by a bare Exception: on an overloaded machine after half a minute."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(
            f"a private Ray didn't start ({_first_line(error)}); see that the machine has memory and time to spare, then try again."
        ) from error


def _lock_with_token() -> None:
    """Give this process a token for its private clusters, unless the user has chosen a mode or a token.

    Ray listens on every interface of the host: without a token whoever reaches it runs code here. `ray.init` turns tokens on
    by itself as long as no mode is set; given one, it writes none into the home directory, where every later `ray start` finds it.
    The variables stay set after the block, because Ray's own copy of the mode stays, too.
    """
    if not os.environ.keys() & {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}:
        os.environ.setdefault("RAY_AUTH_TOKEN", _process_token())


@cache
def _process_token() -> str:
    """One for all its clusters: Ray keeps the first that it has seen, even where the variable was taken away meanwhile."""
    return secrets.token_hex(16)


def asks_for_token(address: str) -> bool | None:
    """Whether the head at `host:port` refuses a call that brings no token; None where that can't be told (no answer, TLS)."""
    if _uses_tls():
        return None
    import grpc  # type: ignore[import-untyped]

    status = _status_of_call(address)
    return True if status in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED) else False if status is grpc.StatusCode.OK else None


def free_port() -> int:
    """A TCP port of this host that is free now, outside Ray's own range for workers (10002-19999).

    And, where there is room, outside the range from which the system serves connections that go out: one of those would sooner or
    later take the port between this answer and its use.
    """
    for _ in range(100):
        with socket.socket() as listener, suppress(OSError):
            listener.bind((_LOOPBACK, _candidate()))
            port: int = listener.getsockname()[1]
            if not 10002 <= port <= 19999:
                return port
    raise OSError(f"no free TCP port on {_LOOPBACK}")


def _candidate() -> int:
    """A port between Ray's range and the system's own; 0, for one of the system's choice, where nothing is known or left between them."""
    try:
        first_of_system = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return 20000 + secrets.randbelow(first_of_system - 20000) if first_of_system >= 21000 else 0


def _require_answer(address: str) -> None:
    """Raise ConnectionError unless something listens at the address: Ray itself would wait for 90 s."""
    if address == "auto":
        return
    if address.startswith(("http://", "https://")):
        raise ConnectionError(f"{address} is a dashboard, for `ray job submit`; RAY_ADDRESS of a driver is host:port of the head, such as 10.0.0.1:6379.")
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdigit():
        raise ConnectionError(f"Ray address {address!r} is not host:port; unset RAY_ADDRESS to start a private cluster.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address} ({error}); start it, or unset RAY_ADDRESS to start a private one.") from error
    if not address.startswith("ray://"):  # a client server speaks another protocol
        _require_grpc(address)


def _require_grpc(target: str) -> None:
    """Raise ConnectionError when what listens isn't Ray (not asked of a TLS cluster, which answers only to its certificates)."""
    if _uses_tls():
        return
    import grpc

    # Others, as UNAUTHENTICATED, are answers of a head: `ray.init` says more about them.
    if _status_of_call(target) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNIMPLEMENTED):
        raise ConnectionError(f"what listens at {target} is no Ray head; RAY_ADDRESS is host:port of `ray start --head`.")


def _uses_tls() -> bool:
    return os.environ.get("RAY_USE_TLS", "0") not in ("0", "")


def _status_of_call(target: str) -> Any:
    """What a head says to the question whether it lives: gRPC's status. The channel is our own, so no token goes with it."""
    import grpc

    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=CONNECT_TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def _info(dashboard_url: str | None, *, private: bool) -> ClusterInfo:
    import ray

    resources = ray.cluster_resources()
    return ClusterInfo(
        address=ray.get_runtime_context().gcs_address,
        dashboard_url=f"http://{dashboard_url}" if dashboard_url else None,
        num_cpus=resources.get("CPU", 0.0),
        num_gpus=resources.get("GPU", 0.0),
        private=private,
    )


def _in_job() -> bool:
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def _job_variables() -> set[str]:
    """Names that the submitter of this `ray job` has set: given twice they make `ray.init` fail."""
    try:
        settings = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    except json.JSONDecodeError:
        return set()
    return set((settings.get("runtime_env") or {}).get("env_vars") or {})


@contextmanager
def _environment(**variables: str | None) -> Iterator[None]:
    """Set (None: unset) variables of this process for the time of the block."""
    before = {name: os.environ.get(name) for name in variables}
    _assign(variables)
    try:
        yield
    finally:
        _assign(before)


def _assign(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
