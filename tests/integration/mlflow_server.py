"""A real MLflow server as a child process, with SQLite and artifacts below a folder; it can be killed and started again."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import free_port

START_TIMEOUT_S = 240  # twenty seconds on an idle machine


class MlflowServer:
    """Start it with `start()`; `uri` stays the same over restarts.

    store: its database, an SQLite file in the folder by default. script: variables of `cluster/mlflow_server.sh`, which starts it then.
    """

    def __init__(self, folder: Path, *, store: str | None = None, script: Mapping[str, str] | None = None) -> None:
        self.folder, self.store, self.script = folder, store or f"sqlite:///{folder}/mlflow.db", script
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        assert self._process is None
        command, environment = self._by_script(self.script) if self.script is not None else self._by_command()
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=log, stderr=log, start_new_session=True, env=environment)
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the MLflow server didn't start:\n{(self.folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def _by_command(self) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.store]
        command += ["--artifacts-destination", str(self.folder / "artifacts"), "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        return command, {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

    def _by_script(self, variables: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MLFLOW_"))}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.port), "MLFLOW_WORKERS": "1", "MLFLOW_ALLOWED_HOSTS": f"127.0.0.1:{self.port}"}
        return ["bash", "cluster/mlflow_server.sh"], {**inherited, "PATH": path, **own, **variables}

    def kill(self) -> None:
        """End the server as a power cut would."""
        if self._process is None:
            return
        family = psutil.Process(self._process.pid).children(recursive=True)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        psutil.wait_procs(family, timeout=10)
        self._process = None
