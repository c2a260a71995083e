"""A Ray head node as a child process, on its own ports: it stops nothing but itself, and `ray stop` is never called."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.environment import REPOSITORY_ROOT, worker_environment
from cluster.ray_cluster import PREEMPTION_WATCHER, free_port

START_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True)
class HeadNode:
    """A running head node: GCS address `host:port`, URL of the dashboard (`ray job submit --address`), process id, the folder of its sessions."""

    address: str
    dashboard_url: str
    pid: int
    folder: Path


@contextmanager
def start_head_node(folder: Path, *, num_cpus: int, object_store_bytes: int = 200_000_000) -> Iterator[HeadNode]:
    """Start a head node with its files below `folder` (a short path: unix sockets lie there), end it with all its workers."""
    gcs, dashboard, agent, client = (free_port() for _ in range(4))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += [f"--dashboard-port={dashboard}", "--include-dashboard=true", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--ray-client-server-port={client}", f"--temp-dir={folder}"]
    # Its log monitor would use as much of a core as some tests: no driver here shows its workers' output.
    command += [f"--num-cpus={num_cpus}", f"--object-store-memory={object_store_bytes}", "--disable-usage-stats", "--include-log-monitor=false"]
    # Workers that pytest's own process would start inherit nothing of its settings; the head's do.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # a job's `python` is the first on the head's path
    environment = {**os.environ, **worker_environment(), PREEMPTION_WATCHER: "0", "PYTHONPATH": str(REPOSITORY_ROOT), "PATH": path}
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(f"http://127.0.0.1:{dashboard}/api/version", process, folder / "head.log")
        yield HeadNode(address=f"127.0.0.1:{gcs}", dashboard_url=f"http://127.0.0.1:{dashboard}", pid=process.pid, folder=folder)
    finally:
        _end(process)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(url, timeout=2):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"Ray's head node didn't start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def _end(process: subprocess.Popen) -> None:
    """Ends this cluster and no other. `ray start --block` takes half a minute to heed SIGTERM; its processes heed it at once."""
    family = _descendants(process.pid)
    process.kill()
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait(5)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
