"""Shards, run, bundle and MLflow's artifacts in an S3-compatible store over HTTP, with a real Ray: train, kill, resume elsewhere, evaluate, serve.

While the resumed training streams its shards and writes checkpoints, the store hangs for 20 s, then cuts every upload for 20 s, and then is away for a minute.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cluster.environment import REPOSITORY_ROOT
from cluster.ray_cluster import free_port
from cluster.storage import Place
from models.bundle import load_bundle
from tests.flaky_relay import Mode
from tests.store import KEY, SECRET, Store
from tests.unit.serve.in_process import npz
from tests.unit.tiny import tiny_clip
from tests.unit.workloads.tiny_runs import CORPUS, NETWORK
from workloads.bundles import open_bundle
from workloads.part_runners import in_this_process
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.training.checkpoints import CHECKPOINTS, checkpoint_name
from workloads.training.events import EVENTS, read_events
from workloads.training.folders import old_run
from workloads.training.mirror import store_gap

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

# A pool that is smaller than the corpus: every epoch streams the shards again.
RUN = (
    "train.num_workers=2",
    "train.batch_size=1",
    "train.epochs=30",
    "train.checkpoint_steps=4",
    "data.bucket_batches=1",
    "data.shuffle_pool=4",
    "optim.lr=1e-4",
)
STEPS = 390
DISTURBANCES: dict[Mode, float] = {"hang": 20, "cut": 20, "refuse": 60}  # s


@pytest.fixture(autouse=True)
def environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def command_line(store: Store, root: str, name: str) -> list[str]:
    values = (NETWORK, f"data.shards={store.bucket}/shards", *RUN, f"run.root={root}", f"run.name={name}")
    return ["--recipe", "mska_slr_small", *(part for value in values for part in ("--set", value))]


def start(script: str, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, script, *arguments], cwd=REPOSITORY_ROOT, stdout=out, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[bytes], log: Path, *, seconds: float = 300) -> str:
    code = process.wait(seconds)
    told = log.read_text(errors="replace")
    assert code == 0, told[-4000:]
    return told


def wait_until(condition: object, process: subprocess.Popen[bytes], log: Path, *, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-4000:]
        assert process.poll() is None, log.read_text(errors="replace")[-4000:]
        time.sleep(0.1)


def last_step(folder: Path) -> int:
    return max((event["step"] for event in read_events(folder / EVENTS) if event["kind"] == "step"), default=0)


def published(place: Place) -> str:
    """Name of the newest checkpoint that counts."""
    return max((name.split("/")[1] for name in place.sizes() if name.startswith(f"{CHECKPOINTS}/") and name.endswith("/manifest-0.json")), default="")


def whole(place: Place) -> bool:
    """Whether every file of a checkpoint is what its manifests say, byte for byte."""
    sizes = place.sizes()
    if store_gap(place, sizes) is not None:
        return False
    records = {name: record for key in sizes if key.startswith("manifest-") for name, record in json.loads((place / key).read_bytes())["files"].items()}
    return all(hashlib.sha256((place / name).read_bytes()).hexdigest() == record[1] for name, record in records.items())


def secrets_in(folders: Iterator[Path]) -> list[Path]:
    """Files that hold what nobody may see."""
    found = []
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        try:
            content = path.read_bytes()
        except OSError:  # of a process that ended meanwhile
            continue
        if KEY.encode() in content or SECRET.encode() in content:
            found.append(path)
    return found


def kill_when_published(store: Store, place: Place, folder: Path) -> None:
    """A training that ends by SIGKILL after its second checkpoint; nothing that it wrote on this host holds a secret."""
    began, log = time.time(), folder / "first.log"
    first = start("workloads/train.py", *command_line(store, f"{store.bucket}/runs", place.name), log=log)
    wait_until(lambda: published(place) >= checkpoint_name(8), first, log)
    ray_logs = [folder for folder in Path("/tmp").glob("ray*") if folder.is_dir() and folder.stat().st_mtime > began]
    leaked = secrets_in(iter(ray_logs))
    first.kill()
    first.wait(60)
    assert published(place) < checkpoint_name(STEPS)
    assert leaked == []


def resume_through_disturbances(store: Store, place: Place, log: Path) -> Path:
    """The run goes on to its end while the store fails in each way; its local folder."""
    _, folder = old_run(str(place))
    second = start("workloads/train.py", "--resume", str(place), log=log)
    wait_until(lambda: (folder / EVENTS).exists() and last_step(folder) >= 20, second, log)
    store.relay.cut_after = 1 << 14
    for mode, seconds in DISTURBANCES.items():
        assert second.poll() is None, f"over before the store could {mode}"
        before = store.relay.cuts
        with store.relay.disturbed(mode, seconds):
            pass
        assert store.relay.cuts > before or mode == "hang", f"nothing met the store that would {mode}"
    told = finish(second, log)
    assert f"bundle: {place}/bundle" in told
    assert " is away" in told, "what waits says so"
    assert " is back" in told
    return folder


def assert_nothing_lost(place: Place, folder: Path) -> None:
    """Every step once, one resumption, checkpoints whole."""
    events = read_events(folder / EVENTS)
    messages = [event["text"] for event in events if event["kind"] == "message"]
    assert len([text for text in messages if text.startswith("resumed from")]) == 1, messages
    assert [text for text in messages if "failed" in text or "damaged" in text] == [], "no restart, no loss"
    assert [event["step"] for event in events if event["kind"] == "step"] == list(range(1, STEPS + 1))
    kept = sorted({name.split("/")[0] for name in (place / CHECKPOINTS).sizes()})
    assert kept[-1] == checkpoint_name(STEPS)
    assert [name for name in kept if not whole(place / CHECKPOINTS / name)] == []


def checksum_of_undisturbed(store: Store, folder: Path) -> str:
    """Of the bundle that the same training writes to this host's disk."""
    log = folder / "third.log"
    finish(start("workloads/train.py", *command_line(store, str(folder / "runs"), "b"), log=log), log)
    return load_bundle(folder / "runs" / "b" / "bundle").checksum


def evaluate(store: Store, bundle: str, folder: Path) -> None:
    arguments = ["--bundle", bundle, "--shards", f"{store.bucket}/shards", "--split", "dev", "--num-workers", "1", "--format", "json"]
    log = folder / "evaluate.log"
    finish(start("workloads/evaluate.py", *arguments, "--out", str(folder / "evaluation"), log=log), log)


def served_checksum(bundle: str, folder: Path) -> str:
    """Of the model that a service says has answered."""
    port, log = free_port(), folder / "serve.log"
    service = start("serve/run.py", "--bundle", bundle, "--port", str(port), log=log)
    wait_until(lambda: "signray serves" in log.read_text(), service, log)
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/recognize", content=npz(tiny_clip()), headers={"Content-Type": "application/x-npz"}, timeout=60)
    assert answer.status_code == 200, answer.text
    service.send_signal(signal.SIGINT)
    finish(service, log)
    checksum: str = answer.json()["model"]["checksum"]
    return checksum


def test_train_kill_resume_evaluate_serve(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three trainings with a private Ray each, an evaluation on Ray, a service: about six minutes."""
    settings = {key: str(value) for key, value in CORPUS.items()}
    preprocess(PreprocessOptions(corpus="synthetic", out=store.bucket / "shards", settings=settings), in_this_process)
    place = store.bucket / "runs" / "a"
    kill_when_published(store, place, tmp_path)
    monkeypatch.setenv("SIGNRAY_WORK", str(tmp_path / "another machine"))
    assert_nothing_lost(place, resume_through_disturbances(store, place, tmp_path / "second.log"))
    bundle = open_bundle(f"{place}/bundle")
    assert bundle.checksum == checksum_of_undisturbed(store, tmp_path)
    evaluate(store, f"{place}/bundle", tmp_path)
    assert served_checksum(f"{place}/bundle", tmp_path) == bundle.checksum

    assert secrets_in(iter([tmp_path])) == []
    objects = store.bucket.sizes()
    assert [name for name in objects if name.startswith("runs/artifacts/")], "MLflow's artifacts lie beside the runs"
    assert [name for name in objects if SECRET.encode() in (store.bucket / name).read_bytes()] == []
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
