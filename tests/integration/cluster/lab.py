"""Several hosts on one machine, by Linux namespaces: each has its own network, processes, shared memory, host name and /tmp/ray.

A power cut ends all processes of a host at once, a network cable can be pulled, and no `ray stop` or signal reaches another host. The disk is the
one thing they share: it stands for the storage that all nodes of a cluster mount. Needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT

SUBNET = "10.77.0"
STORE = "150000000"  # bytes of a host's object store
INIT = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
# Mounts of its own: processes, shared memory, Ray's folder, names of the other hosts.
BOOT = """set -e
mount --make-rprivate /
mount -t proc proc /proc
hostname {name}
mount -t tmpfs -o size=2g tmpfs /dev/shm
mkdir -p /tmp/ray && mount --bind {folder}/ray /tmp/ray
mount --bind {lab}/hosts /etc/hosts
touch {folder}/up
exec {python} -c '{init}'
"""


def requirement() -> str | None:
    """What this machine lacks for hosts of its own, or None."""
    if os.geteuid() != 0:
        return "hosts in network namespaces need root"
    if not all(map(shutil.which, ("ip", "unshare", "nsenter"))):
        return "hosts in network namespaces need iproute2 and util-linux (apt-get install iproute2 util-linux)"
    done = subprocess.run(["unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"this kernel or container gives no namespaces ({done.stderr.strip()})" if done.returncode else None


@dataclass
class Host:
    """One host of the lab; it is up until its power is cut."""

    name: str
    address: str
    network: str
    folder: Path
    environment: dict[str, str]
    cable: Callable[[bool], None]
    boot: str
    _init: subprocess.Popen | None = field(default=None, init=False)
    _pid: int = field(default=0, init=False)
    _started: list[subprocess.Popen] = field(default_factory=list, init=False)

    def power_on(self) -> None:
        (self.folder / "up").unlink(missing_ok=True)
        (self.folder / "ray").mkdir(parents=True, exist_ok=True)
        command = ["nsenter", f"--net=/run/netns/{self.network}", "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "bash", "-c", self.boot]
        with (self.folder / "boot.log").open("w") as log:
            self._init = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        wait_until(lambda: (self.folder / "up").exists(), 20, lambda: (self.folder / "boot.log").read_text())
        self._pid = int(Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text().split()[0])

    def power_off(self) -> None:
        """All its processes are gone at once, as is its shared memory; its files stay."""
        if self._init is None:
            return
        os.kill(self._pid, signal.SIGKILL)
        for process in (self._init, *self._started):
            process.wait(20)
        self._init = None
        self._started.clear()

    def start(self, *command: str, log: Path | None = None, **variables: str) -> subprocess.Popen:
        """A process on the host, in the repository; its output in `log` (default: a file of the command's name in the host's folder)."""
        with (log or self.folder / f"{Path(command[0]).name}.log").open("a") as output:
            environment = {**self.environment, **variables}
            process = subprocess.Popen(self._entered(command), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self._started.append(process)
        return process

    def call(self, *command: str, timeout: float = 60, **variables: str) -> str:
        """What a command on the host prints. Raises CalledProcessError where it fails."""
        environment = {**self.environment, **variables}
        return subprocess.run(self._entered(command), env=environment, capture_output=True, text=True, timeout=timeout, check=True).stdout

    def _entered(self, command: Sequence[str]) -> list[str]:
        """Entering another mount namespace leads to its root folder."""
        assert self._init is not None, f"{self.name} is off"
        return ["nsenter", "-t", str(self._pid), "-n", "-m", "-u", "-p", "--", "bash", "-c", 'cd "$0" && exec "$@"', str(REPOSITORY_ROOT), *command]

    def start_ray(self, *arguments: str, cpus: int, **variables: str) -> subprocess.Popen:
        """Ray on this host, kept running by `cluster/node.sh`, as README.md says for servers without Docker."""
        command = ("bash", "cluster/node.sh", *arguments, f"--node-ip-address={self.address}", f"--num-cpus={cpus}", f"--object-store-memory={STORE}")
        return self.start(*command, **variables)


@dataclass
class Lab:
    """Hosts on one switch, and the environment that the site's file gives them."""

    folder: Path
    hosts: list[Host]

    @property
    def head(self) -> Host:
        return self.hosts[0]

    @property
    def address(self) -> str:
        return f"{self.head.address}:6379"

    def start_head(self, *arguments: str, cpus: int = 0, **variables: str) -> subprocess.Popen:
        # Without the dashboard, whose nine processes would take two cores for half a minute.
        own = ("--head", "--port=6379", "--ray-client-server-port=9999", "--include-dashboard=false")
        (self.folder / "nodes").unlink(missing_ok=True)
        self.head.start(sys.executable, "-c", WATCH, self.address, str(self.folder / "nodes"))
        return self.head.start_ray(*own, *arguments, cpus=cpus, **variables)

    def start_worker(self, number: int, *, cpus: int = 2, **variables: str) -> subprocess.Popen:
        return self.hosts[number].start_ray(f"--address={self.address}", cpus=cpus, **variables)

    def nodes(self) -> dict[str, str]:
        """Ids of the nodes that the head counts as alive, by address; as one process on the head's host writes them down every second."""
        try:
            return dict(line.split() for line in (self.folder / "nodes").read_text().splitlines())
        except (FileNotFoundError, ValueError):
            return {}

    def alive(self) -> list[str]:
        return sorted(self.nodes())

    def wait_for_nodes(self, count: int, timeout: float = 400) -> None:
        wait_until(lambda: len(self.alive()) == count, timeout, self.logs, every=0.2)

    def drain(self, host: Host, *, seconds: int) -> None:
        """Tell the cluster that a host will be taken away, as a cloud's notice does."""
        node = self.nodes()[host.address]
        reason = ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot", "--deadline-remaining-seconds", str(seconds))
        self.head.call("ray", "drain-node", "--address", self.address, "--node-id", node, *reason)

    def logs(self) -> str:
        """The last lines of every host's output."""
        files = [path for host in self.hosts for path in sorted(host.folder.glob("*.log"))]
        return "\n".join(f"--- {path}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:]) for path in files)


def send(process: subprocess.Popen, number: signal.Signals) -> None:
    """A signal to what `Host.start` has started: the process itself only enters the host and waits."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children or [process.pid]:
        os.kill(int(pid), number)


WATCH = """
import os, sys, time
from ray._raylet import GcsClient
address, path, client = sys.argv[1], sys.argv[2], None
while True:
    try:
        client = client or GcsClient(address=address)
        found = {node.node_manager_address: key.hex() for key, node in client.get_all_node_info(timeout=5).items() if node.state == 0}
    except Exception:
        client, found = None, {}
    with open(path + ".new", "w") as out:
        out.writelines(f"{address} {node}\\n" for address, node in found.items())
    os.replace(path + ".new", path)
    time.sleep(1)
"""


@contextmanager
def lab(folder: Path, count: int, **settings: str) -> Iterator[Lab]:
    """`count` hosts that are up; settings: what the site's file says otherwise than the repository's. Skips the test where the machine can't."""
    lacking = requirement()
    if lacking:
        pytest.skip(lacking)
    mark = f"lab{os.getpid()}"
    folder.mkdir(exist_ok=True)
    site = write_site(folder, {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_SOCKET_IFNAME": "eth0", **settings})
    (folder / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{SUBNET}.{10 + number} n{number}\n" for number in range(count)))
    (folder / "token").write_text("a" * 64)
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(REPOSITORY_ROOT),
        "SIGNRAY_SITE": str(site),
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        **site_settings(site),
    }
    switch = f"{mark}s"
    hosts = []
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for number in range(count):
            hosts.append(_host(folder, number, mark, switch, environment))
            hosts[-1].power_on()
        yield Lab(folder, hosts)
    finally:
        for host in hosts:
            with suppress(ProcessLookupError):
                host.power_off()
        for name in (*(host.network for host in hosts), switch):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def write_site(folder: Path, changes: Mapping[str, str]) -> Path:
    """The repository's site file with some settings changed."""
    settings = site_settings(REPOSITORY_ROOT / "cluster" / "site.env") | changes
    (folder / "site.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return folder / "site.env"


def site_settings(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def _host(folder: Path, number: int, mark: str, switch: str, environment: dict[str, str]) -> Host:
    name, network, port = f"n{number}", f"{mark}n{number}", f"v{number}"
    own = folder / name
    (own / "home").mkdir(parents=True)
    _ip("netns", "add", network)
    _ip("link", "add", port, "netns", switch, "type", "veth", "peer", "name", "eth0", "netns", network)
    _ip("-n", switch, "link", "set", port, "master", "br0", "up")
    _ip("-n", network, "link", "set", "lo", "up")
    _ip("-n", network, "addr", "add", f"{SUBNET}.{10 + number}/24", "dev", "eth0")
    _ip("-n", network, "link", "set", "eth0", "up")
    _ip("-n", network, "route", "add", "default", "via", f"{SUBNET}.1")  # Ray learns its address by the route to the outside
    return Host(
        name=name,
        address=f"{SUBNET}.{10 + number}",
        network=network,
        folder=own,
        environment={**environment, "HOME": str(own / "home")},
        cable=lambda plugged: _ip("-n", switch, "link", "set", port, "up" if plugged else "down"),
        boot=BOOT.format(name=name, folder=own, lab=folder, python=sys.executable, init=INIT),
    )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def wait_until(true: Callable[[], bool], timeout: float, told: Callable[[], str] = str, *, every: float = 0.1) -> float:
    """Seconds until it was so. Fails with what `told` says."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout, f"not within {timeout:g} s\n{told()}"
        time.sleep(every)
    return time.monotonic() - began
