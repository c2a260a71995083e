"""The head's host loses power and is back 12 s later, with Redis on another host: service and training notice nothing. Three minutes."""

from __future__ import annotations

import itertools
import secrets
import sys
import time
from pathlib import Path

import pytest

from tests.integration.cluster.jobs import RECIPE, reached, told, values
from tests.integration.cluster.lab import Lab, lab, wait_until
from tests.integration.cluster.programs import redis_server
from tests.integration.cluster.record import Record
from tests.unit.serve.in_process import npz
from tests.unit.tiny import save_tiny_bundle, tiny_clip, tiny_network
from tests.unit.workloads.tiny_runs import write_tiny_shards

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

OUTAGE_S = 12.0
LONG = ("train.num_workers=2", "train.cpus_per_worker=1", "train.epochs=400", "validation.every_epochs=400", "optim.schedule=constant")


def test_service_and_training_outlive_the_head(tmp_path: Path, record: Record) -> None:
    bundle = save_tiny_bundle(tmp_path / "bundle", tiny_network(scale=30))
    shards, shared = write_tiny_shards(tmp_path / "shards"), tmp_path / "shared"
    (tmp_path / "clip.npz").write_bytes(npz(tiny_clip(num_frames=40)))
    with lab(tmp_path / "lab", 4, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/mlflow.db") as hosts:
        password = secrets.token_hex(8)
        redis_server(hosts.hosts[3], password)
        redis = {"RAY_REDIS_ADDRESS": f"{hosts.hosts[3].address}:6379"}
        hosts.start_head(f"--redis-password={password}", **redis)
        for number in (1, 2):
            hosts.start_worker(number, cpus=4)
        hosts.wait_for_nodes(3)

        service = ["serve/run.py", "--bundle", str(bundle.folder), "--host", "0.0.0.0", "--replicas", "2"]
        hosts.hosts[1].start(sys.executable, *service, log=tmp_path / "service.log", RAY_ADDRESS=hosts.address)
        place = ["--set", f"run.root={shared}", "--set", "run.name=headless"]
        command = ["-m", "tests.integration.cluster.paced_training", "--recipe", RECIPE, *values(shards, *LONG), *place]
        driver = hosts.hosts[1].start(sys.executable, *command, log=tmp_path / "driver.log", RAY_ADDRESS=hosts.address)
        run = shared / "headless"

        def tell() -> str:
            return "\n".join(path.read_text()[-3000:] for path in sorted(tmp_path.glob("*.log"))) + hosts.logs()

        wait_until(lambda: "signray serves" in (tmp_path / "service.log").read_text(), 200, tell)
        asked = [ask(hosts, number, tmp_path) for number in (1, 2)]
        wait_until(lambda: all(answers(log)[-1:] == ["200"] for log in asked), 90, tell)
        for log in asked:
            log.write_text("")  # from here on every answer counts
        wait_until(lambda: reached(run) >= 5, 240, tell)

        hosts.head.power_off()
        off = time.monotonic()
        time.sleep(OUTAGE_S)
        hosts.head.power_on()
        hosts.start_head(f"--redis-password={password}", **redis)
        hosts.wait_for_nodes(3, timeout=60)
        record("head without power for 12 s, with Redis: until it answers again with all nodes", time.monotonic() - off, "s", at_most=30)
        after = reached(run)
        wait_until(lambda: reached(run) >= after + 15 or driver.poll() is not None, 60, tell)
        assert driver.poll() is None, tell()

        counts = [len(answers(log)) for log in asked]
        failed = [told for log in asked for told in answers(log) if told != "200"]
        record("head without power, with Redis: failed requests at the other nodes", len(failed), "requests", at_most=0, note=f"of {sum(counts)}")
        assert min(counts) > 50
        steps = told(run)
        assert told(run, "resumed") == [], "the training was restarted"
        longest = max(later["time"] - earlier["time"] for earlier, later in itertools.pairwise(steps))
        record("head without power, with Redis: longest time between two steps of a training", longest, "s")


def ask(hosts: Lab, number: int, folder: Path) -> Path:
    """Ask the proxy of a host from that host, five times a second."""
    log = folder / f"answers{number}.txt"
    log.touch()
    host = hosts.hosts[number]
    arguments = (f"http://{host.address}:8000", str(folder / "clip.npz"), str(log))
    host.start(sys.executable, "-m", "tests.integration.cluster.asker", *arguments, log=folder / f"asker{number}.log")
    return log


def answers(log: Path) -> list[str]:
    return [line.split()[2] for line in log.read_text().splitlines() if len(line.split()) == 3]
