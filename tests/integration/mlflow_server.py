"""A real MLflow server as a child process, with SQLite and artifacts below a folder; it can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.ray_cluster import free_port

START_TIMEOUT_S = 60


class MlflowServer:
    """Start it with `start()`; `uri` stays the same over restarts. store: its database, an SQLite file in the folder by default."""

    def __init__(self, folder: Path, *, store: str | None = None) -> None:
        self.folder, self.store = folder, store or f"sqlite:///{folder}/mlflow.db"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        assert self._process is None
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the MLflow server didn't start:\n{(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """End the server as a power cut would."""
        if self._process is None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        psutil.wait_procs(family, timeout=10)
        self._process = None
