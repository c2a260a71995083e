"""Training on a real Ray cluster: two workers, and what happens when one of them, or the driver, is killed.

Trainings of some seconds each; Ray Train's own start takes most of the time, so `make test` runs a job and a run that ends in every way,
and `make test-cluster` the rest.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from cluster.environment import REPOSITORY_ROOT
from models.bundle import load_bundle
from models.errors import TrainingError
from models.translation.recogniser import TranslatingRecogniser
from tests.integration.head_node import HeadNode
from tests.unit.workloads.tiny_runs import (
    NETWORK,
    altered_shards,
    assert_same_weights,
    last_weights,
    messages,
    tiny_recipe,
    tiny_translating_recipe,
    write_tiny_language,
    write_tiny_shards,
)
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, read_events
from workloads.training.folders import old_run
from workloads.training.run import new_run, train
from workloads.training.workers import FAILURES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]

# One clip a batch: 13 steps an epoch on each worker, long enough to be killed in.
RUN = ("train.num_workers=2", "train.batch_size=1", "train.epochs=2", "train.checkpoint_steps=4", "data.bucket_batches=4", "optim.lr=1e-4")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("corpus") / "shards")


def command_line(shards: Path, root: Path, name: str) -> list[str]:
    values = (NETWORK, f"data.shards={shards}", *RUN, f"run.root={root}", f"run.name={name}")
    return ["--recipe", "mska_slr_small", *(part for value in values for part in ("--set", value))]


@pytest.fixture(scope="module")
def undisturbed(head_node: HeadNode, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to, sent as a job."""
    root = tmp_path_factory.mktemp("runs")
    submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", head_node.dashboard_url, "--working-dir", ".", "--"]
    command = [*submit, "python", "workloads/train.py", *command_line(shards, root, "job")]
    job = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert job.returncode == 0, job.stdout[-3000:] + job.stderr[-3000:]
    assert f"bundle: {root}/job/bundle" in job.stdout
    return root / "job"


def test_a_job_leaves_a_whole_run(undisturbed: Path) -> None:
    events = read_events(undisturbed / EVENTS)
    assert [event["step"] for event in events if event["kind"] == "step"] == list(range(1, 27))
    assert [event["clips"] for event in events if event["kind"] == "validation"] == [5, 5]
    assert messages(undisturbed) == []
    assert load_bundle(undisturbed / "bundle").metrics["dev_wer"].keys() == {"ensemble", "left", "right", "fuse", "body"}


def steps_of(folder: Path) -> int:
    return max((event["step"] for event in read_events(folder / EVENTS) if event["kind"] == "step"), default=0)


def resumptions(folder: Path) -> list[str]:
    return [text for text in messages(folder) if text.startswith("resumed from checkpoint_000000")]


def wait_for_step(folder: Path, step: int, *, resumed: int = 0, alive: Callable[[], bool] = lambda: True) -> None:
    deadline = time.monotonic() + 200
    while steps_of(folder) < step or len(resumptions(folder)) < resumed:
        assert time.monotonic() < deadline
        assert alive()
        time.sleep(0.02)


@contextmanager
def killing_a_worker(folder: Path, head_node: HeadNode, *, at_step: int) -> Iterator[None]:
    """In a thread: kill one of the cluster's Train workers as soon as the run has come to a step."""
    killed: list[int] = []

    def kill() -> None:
        wait_for_step(folder, at_step)
        for process in psutil.Process(head_node.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "RayTrainWorker" in process.name() or "RayTrainWorker" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(process.pid)
                    return

    thread = threading.Thread(target=kill)
    thread.start()
    yield
    thread.join()
    assert len(killed) == 1


@pytest.mark.cluster
def test_a_translator_learns_under_zero_3_and_bf16(ray_cluster: HeadNode, shards: Path, tmp_path: Path) -> None:
    """The weights of recogniser, mapper and mBART are divided among two workers, which generate the dev texts in step. A step is all clips."""
    options = "train={num_workers: 2, zero_stage: 3, precision: bf16, epochs: 6, batch_size: 13, threads: 1}"
    rates = ("optim.lr=1e-2", "optim.rates={}", "optim.schedule=constant", "validation.every_epochs=6", f"run.root={tmp_path}")
    recipe = tiny_translating_recipe(shards, write_tiny_language(shards, tmp_path), options, *rates, recipe="mska_slt_phoenix2014t")
    result = train(*new_run(recipe))
    events = read_events(result.folder / EVENTS)
    losses = [event["terms"]["translation"] for event in events if event["kind"] == "step"]
    assert len(losses) == 6
    assert losses[-1] < 0.9 * losses[0]
    assert [(event["metric"], event["clips"]) for event in events if event["kind"] == "validation"] == [("bleu4", 5)]
    bundle = load_bundle(result.folder / "bundle")
    recogniser = bundle.recogniser()
    assert isinstance(recogniser, TranslatingRecogniser)
    assert all(torch.isfinite(parameter).all() for parameter in recogniser.network.parameters())
    assert [len(answer.texts) for answer in recogniser.recognise(ShardSet.open(shards).rows("dev"))] == [1] * 5


def test_a_run_whose_worker_and_drivers_end_has_the_weights_of_one_in_one_piece(ray_cluster: HeadNode, undisturbed: Path, shards: Path, tmp_path: Path) -> None:
    """A worker is killed, and replaced; the driver is stopped, the next one killed; a third comes to the end."""
    folder = tmp_path / "cut"
    with killing_a_worker(folder, ray_cluster, at_step=5):
        code, told = driver_ended_at(9, signal.SIGTERM, folder, command_line(shards, tmp_path, folder.name), resumed=1)
    assert code == 143, told
    assert "connected to Ray at" in told  # not a private one
    assert told.splitlines()[-1].endswith(f"continue with: python workloads/train.py --resume {folder}")
    assert any("failed" in text for text in messages(folder))
    assert (folder / FAILURES).exists()
    code, told = driver_ended_at(18, signal.SIGKILL, folder, ["--resume", str(folder)])
    assert code == -signal.SIGKILL
    result = train(*old_run(str(folder)))
    assert result.bundle is not None
    assert len(resumptions(folder)) == 3
    assert_same_weights(last_weights(folder), last_weights(undisturbed))


def driver_ended_at(step: int, number: signal.Signals, folder: Path, arguments: list[str], *, resumed: int = 0) -> tuple[int, str]:
    """Exit status and output of a driver that gets a signal as soon as its run has come to a step, and has been resumed so often."""
    command = [sys.executable, "workloads/train.py", *arguments]
    driver = subprocess.Popen(command, cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    assert driver.stdout is not None
    with driver.stdout as output:
        wait_for_step(folder, step, resumed=resumed, alive=lambda: driver.poll() is None)
        driver.send_signal(number)
        told = output.read()
    return driver.wait(), told


@pytest.mark.cluster
def test_a_fault_of_one_workers_data_ends_the_run_in_one_line(ray_cluster: HeadNode, shards: Path, tmp_path: Path) -> None:
    def alter(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "keypoints": [float("nan"), *row["keypoints"][1:]]} if row["name"] == "synthetic_train_00003" else row

    recipe, folder = new_run(tiny_recipe(altered_shards(shards, tmp_path / "shards", alter), *RUN, f"run.root={tmp_path}"))
    with pytest.raises(TrainingError, match=r"^synthetic_train_00003: NaN or infinite keypoints"):
        train(recipe, folder)
