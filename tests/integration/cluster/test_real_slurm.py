"""The batch script under a real Slurm (slurmctld and two slurmd of Debian, each on a host of its own): notice, requeue, resume, exit codes. Seven minutes.

By itself, with what Slurm says:  python -m pytest -m cluster -s tests/integration/cluster/test_real_slurm.py      (as root; apt-get install slurm-wlm munge)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT
from tests.integration.cluster.jobs import RECIPE, reached, submit_folder, told, values
from tests.integration.cluster.lab import lab, wait_until
from tests.integration.cluster.record import Record
from tests.integration.cluster.slurm_lab import Slurm, slurm
from tests.unit.workloads.tiny_runs import write_tiny_shards
from workloads.training.folders import ended

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

EPOCHS, PER_EPOCH = 30, 13  # of two workers, one clip a batch
SCRIPT = ("--output=job-%j.log", str(REPOSITORY_ROOT / "cluster" / "slurm" / "train.sbatch"), RECIPE)
TWO_NODES = ("--nodes=2", "--cpus-per-task=2", "--time=30", *SCRIPT)
SHORT = ("--nodes=1", "--cpus-per-task=3", "--time=6", "--signal=B:USR1@150", *SCRIPT)  # Slurm may signal a minute before that


def test_notice_requeue_resume_and_the_jobs_record(tmp_path: Path, record: Record) -> None:
    shards, submitted, run, settings = night(tmp_path)
    arguments = values(shards, f"train.epochs={EPOCHS}", "train.num_workers=2", "optim.schedule=constant", "validation.every_epochs=10")
    with lab(tmp_path / "lab", 2, **settings) as hosts, slurm(hosts, cpus=2) as made:
        began = time.monotonic()
        job = made.submit(submitted, *TWO_NODES, "night", *arguments, SIGNRAY_STORE="150000000")
        follow = Followed(made, job, submitted)
        follow.until(lambda: reached(run) >= 5, 300)
        record("Slurm, two nodes: from sbatch to the fifth step", time.monotonic() - began, "s")

        noticed = time.monotonic()
        made.call("scancel", "--batch", "--signal=USR1", str(job))
        follow.until(lambda: "DRIVER EXIT 138" in follow.log(), 60)
        record("Slurm: from the notice to the driver's end, checkpoint written", time.monotonic() - noticed, "s", at_most=60)
        kept = reached(run)
        follow.until(lambda: made.job(job)["Restarts"] == "1", 60)
        assert made.job(job)["Requeue"] == "1"
        follow.until(lambda: made.job(job)["JobState"] == "RUNNING", 120)
        record("Slurm: from the notice to the requeued job's start (its wait for credentials: 20 s here)", time.monotonic() - noticed, "s")
        follow.until(lambda: made.job(job)["JobState"] not in ("RUNNING", "COMPLETING", "PENDING"), 300)

        found = made.job(job)
        print(made.call("scontrol", "show", "job", str(job)))
        assert (found["JobState"], found["ExitCode"]) == ("COMPLETED", "0:0"), follow.tell()
        assert [event["step"] for event in told(run)] == list(range(1, EPOCHS * PER_EPOCH + 1)), "no step is lost, none taken twice"
        assert [(event["step"], event["steps_lost"]) for event in told(run, "resumed")] == [(kept, 0)]
        assert ended(run)

        wrong = made.submit(submitted, *TWO_NODES, "other", *arguments, "--set", "optim.rate=1", SIGNRAY_STORE="150000000")
        follow = Followed(made, wrong, submitted)
        follow.until(lambda: made.job(wrong)["JobState"] == "FAILED", 120)
        print(made.call("scontrol", "show", "job", str(wrong)))
        assert made.job(wrong)["ExitCode"] == "2:0"
        assert made.job(wrong)["Restarts"] == "0"


def test_the_time_limit_brings_the_notice(tmp_path: Path, record: Record) -> None:
    """Nobody but Slurm's clock ends the first attempt; the second goes on from its checkpoint."""
    shards, submitted, run, settings = night(tmp_path)
    arguments = values(shards, "train.epochs=2000", "validation.every_epochs=2000")
    with lab(tmp_path / "lab", 1, **settings) as hosts, slurm(hosts, cpus=3) as made:
        job = made.submit(submitted, *SHORT, "night", *arguments, SIGNRAY_STORE="150000000")
        follow = Followed(made, job, submitted)
        follow.until(lambda: "notice: USR1" in follow.log(), 300)
        noticed = time.monotonic()
        follow.until(lambda: "DRIVER EXIT 138" in follow.log(), 60)
        record("Slurm: from the notice of its clock to the driver's end, checkpoint written", time.monotonic() - noticed, "s", at_most=60)
        kept = reached(run)
        assert kept > 0
        follow.until(lambda: made.job(job)["Restarts"] == "1", 60)
        follow.until(lambda: reached(run) > kept, 240)
        assert "0 failed" in diagnosed(made, job, submitted, follow.log().rpartition("\nJOB ")[2].split()[5])
        made.call("scancel", str(job))
        follow.until(lambda: made.job(job)["JobState"] == "CANCELLED", 120)
        assert [(event["step"], event["steps_lost"]) for event in told(run, "resumed")] == [(kept, 0)]


def night(folder: Path) -> tuple[Path, Path, Path, dict[str, str]]:
    """Shards, the folder from which is submitted, the run's, and the site's settings."""
    shared = folder / "shared"
    shared.mkdir()
    settings = {"SIGNRAY_SHARED": str(shared), "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    return write_tiny_shards(folder / "shards"), submit_folder(folder / "checkout"), shared / "runs" / "night", settings


def diagnosed(made: Slurm, job: int, submitted: Path, address: str) -> str:
    """What the doctor says inside the running job, as slurm/README.md has it."""
    token = "RAY_AUTH_TOKEN_PATH=$PWD/.ray_token_$SLURM_JOB_ID"
    script = f"set -a; . ${{SIGNRAY_SITE:-cluster/site.env}}; {token}; set +a; RAY_ADDRESS={address} python -m cluster.doctor"
    step = ("srun", "--overlap", f"--jobid={job}", f"--chdir={submitted}", "-N1", "-n1", "bash", "-c", f"{script} || true")
    return made.call(*step, timeout=120)


class Followed:
    """A job, by its log and Slurm's record."""

    def __init__(self, made: Slurm, job: int, submitted: Path) -> None:
        self.made, self.number, self.submitted = made, job, submitted

    def log(self) -> str:
        path = self.submitted / f"job-{self.number}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def tell(self) -> str:
        logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in self.submitted.glob("ray-*.log"))
        return f"{self.made.job(self.number)}\n{self.log()[-4000:]}\n{logs}\n{self.made.tell()}"

    def until(self, true: Callable[[], bool], timeout: float) -> None:
        wait_until(lambda: true() or self.made.job(self.number)["JobState"] == "FAILED", timeout, self.tell, every=0.5)
        assert true(), self.tell()
