"""Hosts that vanish, come back, are added or know another token, under elastic trainings; the doctor on them. Hosts are namespaces (lab.py). Ten minutes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cluster.jobs import RECIPE, reached, told, values
from tests.integration.cluster.lab import Host, Lab, lab, send, wait_until
from tests.integration.cluster.record import Record
from tests.unit.workloads.tiny_runs import run_loop, write_tiny_shards
from workloads.recipe import load_recipe
from workloads.training.folders import old_run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

ELASTIC = (
    "train.num_workers=2",
    "train.min_workers=1",
    "train.cpus_per_worker=1.5",
    "train.max_failures=9",
    "train.checkpoint_steps=5",
    "optim.schedule=constant",
)
LONG = ("train.epochs=400", "validation.every_epochs=400")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A head, two workers, a third host that isn't in yet."""
    folder = tmp_path_factory.mktemp("lab")
    with lab(folder, 4, MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db", SIGNRAY_SHARED=str(folder / "shared")) as made:
        made.start_head(cpus=1)
        for number in (1, 2):
            made.start_worker(number)
        made.wait_for_nodes(3)
        yield made


class Training:
    """An elastic training whose driver runs on the head's host."""

    def __init__(self, hosts: Lab, shards: Path, name: str) -> None:
        self.hosts, self.folder = hosts, hosts.folder / "shared" / "runs" / name
        command = ["-m", "tests.integration.cluster.paced_training", "--recipe", RECIPE, *values(shards, *ELASTIC, *LONG)]
        place = ["--set", f"run.root={self.folder.parent}", "--set", f"run.name={name}"]
        self.log = hosts.folder / f"driver-{name}.log"
        self.driver = hosts.head.start(sys.executable, *command, *place, log=self.log, RAY_ADDRESS=hosts.address)

    def tell(self) -> str:
        failures = self.folder / "failures.log"
        return "\n".join(path.read_text()[-3000:] for path in (self.log, failures) if path.exists()) + self.hosts.logs()

    def wait(self, true: Callable[[], bool], timeout: float) -> float:
        seconds = wait_until(lambda: true() or self.driver.poll() is not None, timeout, self.tell)
        assert self.driver.poll() is None, self.tell()
        return seconds

    def resumed(self) -> list[dict[str, Any]]:
        return told(self.folder, "resumed")

    def goes_on(self, workers: int, timeout: float, *, before: int | None = None) -> tuple[float, dict[str, Any]]:
        """Seconds until it takes a step again, as `workers`, after a resumption from now on (or after the first `before`); and what the resumption told."""
        before, began = len(self.resumed()) if before is None else before, time.monotonic()

        def again() -> bool:
            found = self.resumed()
            return len(found) > before and found[-1]["workers"] == workers and told(self.folder)[-1]["time"] > found[-1]["time"]

        self.wait(again, timeout)
        return time.monotonic() - began, self.resumed()[-1]

    def workers_on(self, host: Host) -> list[str]:
        """Process ids of the run's workers on a host."""
        try:
            return host.call("pgrep", "-f", "ray::RayTrainWorker").split()
        except subprocess.CalledProcessError:  # none
            return []

    def host_with_a_worker(self) -> Host:
        return next(host for host in self.hosts.hosts[1:] if self.workers_on(host))

    def end(self) -> None:
        self.advance(6)
        send(self.driver, signal.SIGTERM)
        assert self.driver.wait(60) == 143, self.tell()

    def advance(self, steps: int) -> None:
        target = reached(self.folder) + steps
        self.wait(lambda: reached(self.folder) >= target, 60)


def diagnosed(hosts: Lab, folder: str) -> list[dict[str, str]]:
    """What the doctor on the head's host says."""
    command = (sys.executable, "-m", "cluster.doctor", "--json", "--shared", folder)
    said = hosts.head.call("bash", "-c", '"$@" || [ $? = 1 ]', "doctor", *command, timeout=240, RAY_ADDRESS=hosts.address)
    lines: list[dict[str, str]] = json.loads(said)["checks"]
    return lines


def test_the_doctor_looks_at_every_host(hosts: Lab) -> None:
    shared = hosts.folder / "shared"
    shared.mkdir(exist_ok=True)
    lines = diagnosed(hosts, str(shared))
    assert {line["verdict"] for line in lines if line["what"] in ("versions", "clock", "token", "storage")} == {"ok"}, lines
    addresses = {host.address for host in hosts.hosts[:3]}
    for what in ("storage", "clock", "disk"):
        assert {address for address in addresses for line in lines if line["what"] == what and address in line["where"]} == addresses, lines
    [network] = [line for line in lines if line["what"] == "all-reduce"]
    assert network["verdict"] != "FAIL", network
    assert network["found"].startswith("3 workers")
    apart = [line for line in diagnosed(hosts, "/tmp/ray") if line["what"] == "storage"]  # each host has its own
    assert {line["verdict"] for line in apart} == {"FAIL"}
    assert all("same file system" in line["advice"] for line in apart)


def test_worker_killed_power_cut_host_added_stranger_refused(hosts: Lab, record: Record, tmp_path: Path) -> None:
    shards = write_tiny_shards(hosts.folder / "shards")
    stranger = hosts.folder / "other_token"
    stranger.write_text("b" * 64)
    wrong = hosts.start_worker(3, RAY_AUTH_TOKEN_PATH=str(stranger))
    training = Training(hosts, shards, "power")
    training.wait(lambda: reached(training.folder) >= 12, 240)
    assert len(hosts.alive()) == 3, "a node with a wrong token joined"
    assert "Ray runtime started" not in hosts.hosts[3].folder.joinpath("bash.log").read_text()
    stop(wrong)

    [worker, *_] = training.workers_on(hosts.hosts[2])
    hosts.hosts[2].call("kill", "-9", worker)
    seconds, resumed = training.goes_on(2, 90)
    record("killed worker: until the next step", seconds, "s", note=f"{resumed['steps_lost']} steps taken again")

    training.advance(3)
    hosts.hosts[2].power_off()
    seconds, resumed = training.goes_on(1, 120)
    record(
        "power cut of one of two hosts, elastic: until the next step, with the rest",
        seconds,
        "s",
        at_most=45,
        note=f"{resumed['steps_lost']} steps taken again",
    )

    hosts.hosts[2].power_on()
    hosts.start_worker(2)
    seconds, resumed = training.goes_on(2, 180)
    record("host added to an elastic run: from its start until the next step with it", seconds, "s", note=f"{resumed['steps_lost']} steps taken again")
    training.end()
    assert_undisturbed(training.folder, shards, tmp_path)


def test_silence_return_and_notice(hosts: Lab, record: Record, tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path / "shards")
    hosts.start_worker(3)
    hosts.wait_for_nodes(4)
    training = Training(hosts, shards, "silence")
    training.wait(lambda: reached(training.folder) >= 12, 240)

    # A host falls silent: its cable is pulled. Three could take a worker, so that one is a spare.
    silent = training.host_with_a_worker()
    silent.cable(False)
    seconds, resumed = training.goes_on(2, 120)
    record("host lost in silence (cable pulled): until the next step, on a spare", seconds, "s", at_most=60, note=f"{resumed['steps_lost']} steps taken again")

    # It comes back: counted as lost, it ends its Ray, and its supervisor starts a new one.
    silent.cable(True)
    back = wait_until(lambda: len(hosts.alive()) == 4, 120, hosts.logs, every=1)
    record("host that was lost and is back: until it is a node again", back, "s", at_most=90)

    # A notice, as a cloud's spot node gets it; after its half minute the node is gone.
    training.advance(6)
    before, resumptions, noticed = len(told(training.folder, "checkpoint")), len(training.resumed()), time.time()
    taken = training.host_with_a_worker()
    hosts.drain(taken, seconds=25)
    training.wait(lambda: any("is taken away in" in event["text"] for event in told(training.folder, "message")), 25)
    training.wait(lambda: len(told(training.folder, "checkpoint")) > before, 20)
    record("notice that a node goes: until a checkpoint is written", time.time() - noticed, "s", at_most=20)
    time.sleep(max(0.0, noticed + 25 - time.time()))
    taken.power_off()
    seconds, resumed = training.goes_on(2, 120, before=resumptions)
    record("node that is taken away after a notice: until the next step, on a spare", seconds, "s", note=f"{resumed['steps_lost']} steps taken again")
    training.end()
    assert_undisturbed(training.folder, shards, tmp_path)


def stop(process: subprocess.Popen) -> None:
    send(process, signal.SIGTERM)
    process.wait(60)


def assert_undisturbed(folder: Path, shards: Path, scratch: Path) -> None:
    """Every step that was told, also the ones taken twice, has the loss of the same run in one process, which nothing happened to."""
    steps = told(folder)
    epochs = steps[-1]["epoch"] + 1
    recipe, _ = old_run(str(folder))
    short = load_recipe(str(folder / "recipe.yaml"), [f"train.epochs={epochs}", f"validation.every_epochs={epochs}", "train.checkpoint_steps=null"])
    assert short.train.num_workers == recipe.train.num_workers
    assert short.optim.schedule == "constant"
    run_loop(short, scratch / "undisturbed")
    wanted = {event["step"]: event["terms"]["loss"] for event in told(scratch / "undisturbed")}
    assert [event["terms"]["loss"] for event in steps] == pytest.approx([wanted[event["step"]] for event in steps], rel=1e-4)
