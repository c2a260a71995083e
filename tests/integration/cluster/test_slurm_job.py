"""Slurm's batch script with a real Ray and a real training, which starts twice; `srun` and `scontrol` alone are stubs (a real one: test_real_slurm.py)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.integration.cluster.jobs import RECIPE, reached, submit_folder, told, values
from tests.integration.cluster.lab import wait_until, write_site
from tests.integration.cluster.record import Record
from tests.unit.workloads.tiny_runs import write_tiny_shards
from workloads.training.folders import ended

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EPOCHS = 8  # of 26 steps: long enough for a notice in their midst
STUBS = {
    "srun": 'while [[ $1 == -* ]]; do case $1 in -w|-x) shift 2;; *) shift;; esac; done; exec "$@"',
    "scontrol": 'if [[ $1 == show ]]; then echo "$3"; else echo "$2" >> "$STUBS/requeued"; fi',
}


class Job:
    """A job whose attempts are processes of this host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shared = folder, folder / "shared"
        self.started: list[subprocess.Popen] = []
        self.scratch: list[str] = []
        self.shared.mkdir()
        self.run = self.shared / "runs" / "night"
        self.shards = write_tiny_shards(folder / "shards")
        self.submitted = submit_folder(folder / "checkout")
        self.site = write_site(folder, {"SIGNRAY_SHARED": str(self.shared), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"})
        for name in ("GLOO", "NCCL"):  # this host's own interface is as good as any
            self.site.write_text("".join(line for line in self.site.read_text().splitlines(keepends=True) if not line.startswith(f"{name}_SOCKET")))
        for name, body in STUBS.items():
            (folder / name).write_text(f"#!/bin/bash\n{body}\n")
            (folder / name).chmod(0o755)

    def start(self, attempt: int, *more: str) -> subprocess.Popen:
        slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NNODES": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": "3"}
        ours = {"SIGNRAY_SITE": str(self.site), "SIGNRAY_HEAD_IP": "127.0.0.1", "SIGNRAY_STORE": "150000000", "SIGNRAY_REQUEUE_WAIT": "0"}
        self.scratch.append(tempfile.mkdtemp(prefix="s", dir="/tmp"))  # Ray's, whose sockets' paths must be short
        places = {"STUBS": str(self.folder), "SIGNRAY_TMP": self.scratch[-1], "PYTHONPATH": str(REPOSITORY_ROOT)}
        path = f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        unset = ("RAY_AUTH_MODE", "RAY_ADDRESS")
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {**slurm, **ours, **places, "PATH": path, "SLURM_RESTART_COUNT": str(attempt)}
        command = [
            "bash",
            str(REPOSITORY_ROOT / "cluster" / "slurm" / "train.sbatch"),
            RECIPE,
            "night",
            *values(self.shards, f"train.epochs={EPOCHS}", f"validation.every_epochs={EPOCHS}", *more),
        ]
        with self.log(attempt).open("w") as log:
            process = subprocess.Popen(command, cwd=self.submitted, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        self.started.append(process)
        return process

    def end(self) -> None:
        """Whatever is left of its attempts, which a failed test may leave: processes, and Ray's folders."""
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
        for folder in self.scratch:
            shutil.rmtree(folder, ignore_errors=True)

    def log(self, attempt: int) -> Path:
        return self.folder / f"attempt{attempt}.log"

    def tell(self, attempt: int) -> str:
        return "\n".join(path.read_text() for path in (self.log(attempt), *self.submitted.glob("ray-*.log")))

    @property
    def requeued(self) -> int:
        return len((self.folder / "requeued").read_text().split()) if (self.folder / "requeued").exists() else 0


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path)
    yield job
    job.end()


@pytest.mark.every_run
def test_notice_requeue_and_resume(job: Job, record: Record) -> None:
    first = job.start(0)
    wait_until(lambda: reached(job.run) >= 5 or first.poll() is not None, 300, lambda: job.tell(0))
    noticed = time.monotonic()
    first.send_signal(signal.SIGUSR1)
    assert first.wait(180) == 138, job.tell(0)
    record("Slurm, stubs: from the notice to the job's end, checkpoint written", time.monotonic() - noticed, "s", at_most=60)
    assert job.requeued == 1, job.tell(0)
    kept = reached(job.run)
    assert f"checkpoint_{kept:08d}" in os.listdir(job.run / "checkpoints"), "the notice's checkpoint is of the last step"

    second = job.start(1)
    assert second.wait(300) == 0, job.tell(1)
    assert job.requeued == 1, "a training that has ended isn't run again"
    assert ended(job.run)
    assert [event["step"] for event in told(job.run)] == list(range(1, EPOCHS * 26 + 1)), "no step is lost, none taken twice"
    [resumed] = told(job.run, "resumed")
    assert (resumed["step"], resumed["steps_lost"]) == (kept, 0)


def test_a_mistake_in_the_recipe_is_the_jobs_exit_code(job: Job) -> None:
    wrong = job.start(0, "optim.rate=1")
    assert wrong.wait(200) == 2, job.tell(0)
    assert "optim.rate" in job.tell(0)
    assert job.requeued == 0
