"""What Slurm's batch script decides: signals, exit codes, when it asks to be run again. Ray, Slurm and the driver are stubs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import free_port
from tests.store import Store

RAY = f"""exec {sys.executable} -c '
import signal, socket, sys, time
port = next(int(part.split("=")[1]) for part in sys.argv if part.startswith("--port="))
with socket.create_server(("127.0.0.1", port)):
    open(sys.argv[1] + "/" + "head", "w").close()
    time.sleep(300)
' "$STUBS" "$@" """
STUBS = {
    "srun": 'while [[ $1 == -* ]]; do case $1 in -w|-x) shift 2;; *) shift;; esac; done; exec "$@"',
    "scontrol": 'if [[ $1 == show ]]; then echo "$3"; else echo "$2" > "$STUBS/requeued"; fi',
    "hostname": "echo 127.0.0.1",
    "ray": RAY,
    # `-` is the question whether the nodes are up; `-c` makes the token.
    "python": "case $1 in -) exit ${NODES_MISSING:-0};; "
    'workloads/train.py) echo "$@" > "$STUBS/driver"; . "$STUBS/train";; '
    f'*) exec {sys.executable} "$@";; esac',
}
# Writes a checkpoint at the notice, as training does.
NOTICED = "trap 'mkdir -p \"$RUN/checkpoints/checkpoint_00000007\"; exit 138' USR1; echo waiting; for i in $(seq 600); do sleep 0.1; done; exit 1"


class Job:
    """The script with its stubs, as an attempt of one job; each job has ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run = folder, folder / "runs" / "toy"
        for name, body in STUBS.items():
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o755)
        self.run.mkdir(parents=True)
        (folder / "site.env").write_text((REPOSITORY_ROOT / "cluster" / "site.env").read_text().replace("=/shared", f"={folder}"))

    def start(self, driver: str, *, attempt: int = 0, **variables: str) -> subprocess.Popen:
        (self.folder / "train").write_text(driver)
        number = next(port for port in iter(free_port, None)) % 200
        slurm = {"SLURM_JOB_ID": str(number), "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": "3"}
        ours = {"SIGNRAY_SITE": str(self.folder / "site.env"), "SIGNRAY_REQUEUE_WAIT": "0", "STUBS": str(self.folder), "RUN": str(self.run)}
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "SLURM_RESTART_COUNT": str(attempt), **slurm, **ours, **variables}
        command = ["bash", str(REPOSITORY_ROOT / "cluster" / "slurm" / "train.sbatch"), "demo", "toy", "--set", "train.epochs=3"]
        with (self.folder / "log").open("w") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def site_with(self, **values: str) -> str:
        """Path of a site file in which some values are others."""
        path = self.folder / "other.env"
        path.write_text((self.folder / "site.env").read_text() + "".join(f"{name}={value}\n" for name, value in values.items()))
        return str(path)

    def wait_for_driver(self, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 100
        while "waiting" not in self.log:
            assert process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    @property
    def requeued(self) -> bool:
        return (self.folder / "requeued").exists()

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def notice(job: Job, process: subprocess.Popen) -> int:
    """Slurm's signal, once the driver is at work; the exit code."""
    job.wait_for_driver(process)
    process.send_signal(signal.SIGUSR1)
    return process.wait(100)


def test_the_drivers_exit_code_is_the_jobs_and_only_a_notice_is_requeued(job: Job) -> None:
    assert job.start("exit 3").wait(100) == 3, job.log
    assert "DRIVER EXIT 3" in job.log
    assert not job.requeued
    wanted = f"workloads/train.py --recipe demo --or-resume --set run.root={job.folder}/runs --set run.name=toy --set train.epochs=3"
    assert (job.folder / "driver").read_text().strip() == wanted
    assert list(job.folder.glob(".ray_token_*")) == [], "the token goes with the job"


def test_the_notice_reaches_the_driver_and_the_job_is_run_again(job: Job) -> None:
    assert notice(job, job.start(NOTICED)) == 138, job.log
    assert job.requeued


def test_a_job_without_progress_is_not_run_again(job: Job) -> None:
    (job.run / "checkpoints" / "checkpoint_00000007").mkdir(parents=True)
    assert notice(job, job.start(NOTICED, attempt=1)) == 138, job.log
    assert "no newer checkpoint came of this attempt: not requeued" in job.log
    assert not job.requeued


def test_the_last_of_four_members_is_progress(job: Job) -> None:
    """DSTA-SLR on one GPU: streams one after the other, each keeps three checkpoints."""
    for member in ("joint", "joint_motion", "zzz"):
        for number in range(1, 4):
            (job.run / "members" / member / "checkpoints" / f"checkpoint_{number:08d}").mkdir(parents=True)
    process = job.start(NOTICED.replace("$RUN/checkpoints", "$RUN/members/bone/checkpoints"), attempt=1)
    assert notice(job, process) == 138, job.log
    assert job.requeued, job.log


def store_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def test_a_checkpoint_in_a_store_is_progress(job: Job, store: Store) -> None:
    """Takes some seconds: the store is asked by a Python of its own, before and after."""
    run = store.bucket / "runs" / "toy"
    (run / "recipe.yaml").write_bytes(b"train: {}\n")
    process = job.start(NOTICED, SIGNRAY_SITE=job.site_with(SIGNRAY_SHARED=str(store.bucket)), **store_variables())
    job.wait_for_driver(process)
    (run / "checkpoints" / "checkpoint_00000007" / "manifest-0.json").write_bytes(b"{}")
    assert notice(job, process) == 138, job.log
    assert job.requeued, job.log


def test_a_notice_before_the_training_begins_ends_the_job_whole(job: Job) -> None:
    (job.folder / "ray").write_text('#!/bin/bash\necho up > "$STUBS/head"; sleep 300\n')  # a head that never listens
    process = job.start("exit 0")
    deadline = time.monotonic() + 60
    while not (job.folder / "head").exists():
        assert time.monotonic() < deadline, job.log
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 138, job.log
    assert "the notice came before the training began" in job.log
    assert not job.requeued
    assert list(job.folder.glob(".ray_token_*")) == []
    assert not (job.folder / "driver").exists()


def test_a_job_is_not_run_again_for_ever(job: Job) -> None:
    assert notice(job, job.start(NOTICED, attempt=5, SIGNRAY_MAX_RESTARTS="5")) == 138, job.log
    assert "requeued 5 times: not again" in job.log
    assert not job.requeued


def test_nodes_that_do_not_come_up(job: Job) -> None:
    (job.folder / "ray").write_text("#!/bin/bash\necho no such option\nexit 1\n")
    assert job.start("exit 0", NODES_MISSING="1").wait(100) == 70, job.log
    assert "the nodes didn't come up" in job.log
    assert "no such option" in job.log


def test_the_script_says_how_it_is_used(job: Job) -> None:
    script = REPOSITORY_ROOT / "cluster" / "slurm" / "train.sbatch"
    done = subprocess.run(["bash", str(script), "demo"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: sbatch cluster/slurm/train.sbatch RECIPE NAME" in done.stderr
