"""MLflow's pages as `make ui` serves them: a run, a comparison of trials, the registry.

Takes a quarter of a minute: MLflow creates its tables, its server starts, Chromium loads its pages.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cluster.ray_cluster import free_port
from cluster.sender import connect_client, embedded_uri
from cluster.tracking import MlflowTracker
from cluster.ui import main, server_command, server_environment
from models.bundle import CorpusCard
from models.ensemble import save_ensemble
from tests.unit.tiny import save_tiny_bundle, tiny_network
from tests.unit.tune.sweeps import leave_trial, small_place
from tests.unit.workloads.tiny_runs import write_tiny_shards
from tune.sweep_report import write_report
from tune.sweeping import collected
from tune.trials import Trial
from workloads.shards import ShardSet
from workloads.training.tracked import log_shards

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

COURSES = ([90, 60, 40, 30], [95, 92], [80, 50, 45, 44], [99, 85], [85, 70])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of made-up trials with its runs, and an ensemble in the registry, as the jobs track them."""
    root = tmp_path_factory.mktemp("ui")
    shards = write_tiny_shards(root / "shards")
    place = small_place(root / "runs", shards)
    parent = MlflowTracker(place.folder, experiment="signray", tags={"signray.sweep": "sweep"})
    log_shards(parent, ShardSet.open(shards))
    parent.flush(force=True)
    for number, scores in enumerate(COURSES):
        values = {"losses.weights.ctc_body": 0.3 + 0.5 * number, "optim.lr": 1e-4 * 2.5**number, "optim.name": ("adam", "adamw")[number % 2]}
        trial = Trial(name=f"{number:03d}", values=values)
        leave_trial(place, trial, [float(score) for score in scores], status="finished" if len(scores) == 4 else "stopped early")
        child = MlflowTracker(
            trial.folder(place.folder),
            experiment="signray",
            run_name=f"sweep/{trial.name}",
            store=root / "runs",
            tags={"mlflow.parentRunId": parent.run_id, "signray.sweep": "sweep"},
        )
        child.log_params(values)
        for epoch, score in enumerate(scores):
            child.log_metrics({"dev_wer/ensemble": float(score)}, step=epoch)
        log_shards(child, ShardSet.open(shards))
        child.close()
    write_report(collected(place), place.recipe, parent)
    card = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")
    members = {name: save_tiny_bundle(root / name, tiny_network(seed), corpus=card) for seed, name in enumerate(("wide", "narrow"))}
    scores = {"test_wer": {"ensemble": 21.5, "wide": 22.5, "narrow": 24.0}}
    ensemble = save_ensemble(root / "both", members, {"wide": 0.6, "narrow": 0.4}, metrics=scores, provenance={})
    assert parent.register(ensemble.folder, name="mska_fused", alias="champion") == 1
    parent.close()
    return root / "runs"


@pytest.fixture(scope="module")
def url(store: Path) -> Iterator[str]:
    """The pages, served as `make ui` does."""
    port = free_port()
    with (store / "server.log").open("w") as log:
        server = subprocess.Popen(server_command(store, port=port), env=server_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while True:
            with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                break
            assert server.poll() is None, (store / "server.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (store / "server.log").read_text()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


@pytest.fixture(scope="module")
def runs(store: Path) -> tuple[str, dict[str, str]]:
    """Id of the experiment, and of each run by name."""
    client = connect_client(embedded_uri(store))
    experiment = client.get_experiment_by_name("signray").experiment_id
    return experiment, {run.info.run_name: run.info.run_id for run in client.search_runs([experiment])}


def opened(page: Page, url: str, *shown: str) -> Page:
    """The page, when it shows all these texts."""
    page.goto(url)
    for text in shown:
        expect(page.get_by_text(text, exact=False).first).to_be_visible(timeout=60_000)
    photographed(page, shown[0])
    return page


def photographed(page: Page, name: str) -> None:
    """A picture of the page for people, where SIGNRAY_SCREENSHOTS names a folder."""
    folder = os.environ.get("SIGNRAY_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name.replace('/', '_')}.png"))


def test_a_run_shows_its_table_its_data_and_its_plots(page: Page, url: str, runs: tuple[str, dict[str, str]]) -> None:
    experiment, ids = runs
    run = f"{url}/#/experiments/{experiment}/runs/{ids['sweep']}"
    opened(page, run, "best: trial 000", "0.000625", "synthetic", "dev_wer/ensemble", "mska_fused")
    opened(page, f"{run}/artifacts", "best.yaml", "plots")
    page.get_by_text("plots").first.click()
    page.get_by_text("parallel.png").first.click()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 600)")
    photographed(page, "plot")


def test_trials_lie_below_their_sweep_and_are_compared(page: Page, url: str, runs: tuple[str, dict[str, str]]) -> None:
    experiment, ids = runs
    opened(page, f"{url}/#/experiments/{experiment}/runs", "sweep")
    trials = [ids[f"sweep/{number:03d}"] for number in range(3)]
    chosen = "%2C".join(f"%22{run}%22" for run in trials)
    opened(page, f"{url}/#/compare-runs?runs=[{chosen}]&experiments=[%22{experiment}%22]", "sweep/000", "optim.lr", "losses.weights.ctc_body")


def test_the_registry_shows_the_model_card(page: Page, url: str) -> None:
    opened(page, f"{url}/#/models", "mska_fused")
    opened(page, f"{url}/#/models/mska_fused/versions/1", "Ensemble of wide, narrow on phoenix2014t", "champion", "whose logits are added", "test_wer")


def test_no_pages_without_runs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no runs were tracked in .* yet: train something"):
        main(["--store", str(tmp_path)])
