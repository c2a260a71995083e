"""Servers of Debian's packages that the cluster's tests start, and stop, themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster.ray_cluster import free_port
from tests.integration.cluster.lab import Host, wait_until


def program(name: str, package: str, folders: Sequence[str] = ()) -> str:
    """Path of a program; the test is skipped where it isn't installed."""
    found = shutil.which(name) or next((str(path) for folder in folders for path in sorted(Path("/").glob(f"{folder}/{name}"))), None)
    if found is None:
        pytest.skip(f"needs {name} (apt-get install {package})")
    return found


def redis_server(host: Host, password: str) -> None:
    """Redis on a host, with a file that survives it; it ends with the host."""
    folder = host.folder / "redis"
    folder.mkdir(exist_ok=True)
    command = [program("redis-server", "redis-server"), "--bind", host.address, "--requirepass", password, "--dir", str(folder), "--appendonly", "yes"]
    host.start(*command)
    client = [program("redis-cli", "redis-tools"), "-h", host.address, "--no-auth-warning", "-a", password, "ping"]

    def answers() -> bool:
        try:
            return "PONG" in host.call(*client)
        except subprocess.CalledProcessError:
            return False

    wait_until(answers, 20, lambda: (host.folder / "redis-server.log").read_text())


class Postgres:
    """A PostgreSQL server on this host's loopback address, with a database of its own; it can be crashed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []  # it refuses root
        self._process: subprocess.Popen | None = None
        self._run("initdb", "--auth=trust", "--username=signray", "--no-sync", "-D", str(folder / "data"))

    @property
    def uri(self) -> str:
        return f"postgresql+psycopg2://signray@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = ["-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder), "-c", "listen_addresses=127.0.0.1"]
        with (self.folder / "postgres.log").open("a") as log:
            self._process = subprocess.Popen([*self._as_user, self._program("postgres"), *options], stdout=log, stderr=log, cwd=self.folder)
        ready = [self._program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, 60, lambda: (self.folder / "postgres.log").read_text())

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """What psql prints for a statement, its rows only."""
        command = [self._program("psql"), "-h", "127.0.0.1", "-p", str(self.port), "-U", "signray", "-d", database, "--no-psqlrc", "-At", "-c", statement]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def crash(self) -> None:
        """Its immediate shutdown: as after a crash, the next start recovers from the log."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def _program(self, name: str) -> str:
        return program(name, "postgresql", ("usr/lib/postgresql/*/bin",))

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([*self._as_user, self._program(name), *arguments], check=True, capture_output=True, cwd=self.folder)


@contextmanager
def postgres() -> Iterator[Postgres]:
    """PostgreSQL that runs, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        if os.geteuid() == 0:
            shutil.chown(name, "postgres", "postgres")
        server = Postgres(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.crash()
