"""What one node of a cluster says of itself. Runs in an actor there; asks nobody but its own host, unless told to."""

import http.client
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster.provenance import provenance
from cluster.ray_cluster import free_port
from cluster.storage import location

PACKAGES = ("ray", "torch", "deepspeed", "signray")
ROUNDS = 5  # all-reduces that are timed
TIMEOUT_S = 30


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """versions: of Python and of each of PACKAGES ("missing" where it isn't installed). commit: of the code, where known. gpus: name and driver of each.
    disk_folder: where Ray on that node keeps logs and what it spills. disk_free, disk_total, shm_free: bytes of its disk and of /dev/shm.
    resolves_to_loopback: the host's own name leads to 127.x."""

    host: str
    versions: dict[str, str]
    commit: str | None
    gpus: tuple[str, ...]
    disk_folder: str
    disk_free: int
    disk_total: int
    shm_free: int
    resolves_to_loopback: bool


class NodeProbe:
    """The actor. Every method is one question."""

    def facts(self) -> NodeFacts:
        folder = _session_folder()
        disk = shutil.disk_usage(folder)
        commit = provenance()["git.commit"]
        return NodeFacts(
            host=socket.gethostname(),
            versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
            commit=str(commit) if commit else None,
            gpus=_gpus(),
            disk_folder=folder,
            disk_free=disk.free,
            disk_total=disk.total,
            shm_free=shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else 0,
            resolves_to_loopback=_resolves_to_loopback(),
        )

    def clock(self) -> float:
        """Seconds since the epoch by this node's clock."""
        return time.time()

    def write(self, folder: str, name: str) -> str | None:
        """Write a file into shared storage; why that failed, or None."""
        try:
            (location(folder) / name).write_text(name, encoding="utf-8")
        except OSError as error:
            return error.strerror or str(error)
        return None

    def unread(self, folder: str, names: list[str]) -> list[str]:
        """Those files of other nodes that aren't seen from here with their contents."""
        missing = []
        for name in names:
            try:
                seen = (location(folder) / name).read_text(encoding="utf-8") == name
            except OSError:
                seen = False
            if not seen:
                missing.append(name)
        return missing

    def meeting_point(self) -> tuple[str, int]:
        """Address and free port at which the others meet this node."""
        import ray

        return ray.util.get_node_ip_address(), free_port()

    def all_reduce(self, rank: int, world_size: int, address: str, port: int, values: int) -> float:
        """Seconds of one all-reduce of float32 `values` over gloo: the median of some. Raises what torch raises where ranks don't find one another."""
        from datetime import timedelta

        import torch
        import torch.distributed as dist

        store = f"tcp://{address}:{port}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size, timeout=timedelta(seconds=TIMEOUT_S))
        try:
            tensor, seconds = torch.ones(values), list[float]()
            for _ in range(ROUNDS):
                dist.barrier()
                began = time.perf_counter()
                dist.all_reduce(tensor)
                seconds.append(time.perf_counter() - began)
                tensor.fill_(1.0)
            return sorted(seconds)[ROUNDS // 2]
        finally:
            dist.destroy_process_group()


def reach(uri: str) -> str | None:
    """Why a tracking server can't be used from this process, or None."""
    if not uri.startswith(("http://", "https://")):
        path = Path(uri.removeprefix("sqlite:///")).resolve()
        folder = next(each for each in (path.parent, *path.parents) if each.exists())
        return None if os.access(folder, os.W_OK) else f"{folder} can't be written"
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=5) as answer:
            text = answer.read(100).decode(errors="replace").strip()
            return None if text == "OK" else f"{uri}/health answered {text[:40]!r}, not OK: that is no MLflow server"
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _session_folder() -> str:
    """Ray's on this node; outside of a cluster the folder of temporary files."""
    import ray

    with suppress(AttributeError):  # a driver that is connected by Ray Client has none
        if ray.is_initialized():
            context = ray.get_runtime_context()
            return str(Path(context.get_temp_dir()) / context.get_session_name())
    return tempfile.gettempdir()


def _gpus() -> tuple[str, ...]:
    """Name, memory and driver of each GPU, as nvidia-smi tells them; none without it."""
    with suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        lines = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    return ()


def _resolves_to_loopback() -> bool:
    """Debian writes `127.0.1.1 NAME` into /etc/hosts: gloo then offers other hosts an address that leads them to themselves."""
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return False
