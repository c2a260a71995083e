"""The list of trials, the schedulers' memory, the winner, and what a sweep ends with; trials are made up, nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cluster.sender import connect_client, embedded_uri
from cluster.tracking import MlflowTracker, NullTracker
from models.errors import RecipeError, TrainingError
from tests.unit.tune.sweeps import leave_trial, small_place
from tests.unit.workloads.tiny_runs import tiny_recipe, write_tiny_shards
from tune import sweep
from tune.on_ray import LedgerSearcher, inside, make_scheduler, placing
from tune.proposals import Ledger
from tune.sweep_report import sentence, sweep_table, write_report
from tune.sweeping import best_of, collected, new_sweep, old_sweep, repeated, run_sweep
from tune.trial_run import SweepPlace
from tune.trials import Trial, end_trial, read_trials
from workloads.recipe import load_recipe


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("corpus") / "shards")


@pytest.fixture
def place(shards: Path, tmp_path: Path) -> SweepPlace:
    """A sweep with five trials, one of which failed."""
    place = small_place(tmp_path, shards, "tracking.register_as=mska", seeds=3)
    courses = ([90, 60, 40, 30], [95, 92], [80, 50, 45, 44], [99], [85, 70])
    for number, scores in enumerate(courses):
        values = {"losses.weights.ctc_body": 0.3 + 0.5 * number, "optim.lr": 1e-4 * 2.5**number, "optim.name": ("adam", "adamw")[number % 2]}
        status = "failed" if number == 3 else "finished" if len(scores) == 4 else "stopped early"
        leave_trial(place, Trial(name=f"{number:03d}", values=values), [float(score) for score in scores], status=status, reason="boom" if number == 3 else "")
    return place


def proposed(place: SweepPlace, take: int, *, failing: bool = False) -> list[Trial]:
    """Trials as Tune asks for them, each of which ends."""
    searcher = LedgerSearcher(Ledger(place.sweep, collected(place).records), place.folder)
    found = []
    for number in range(take):
        suggested = searcher.suggest(f"tune{number}")
        if isinstance(suggested, str):
            break
        found.append(Trial(**suggested["trial"]))
        end_trial(found[-1].folder(place.folder), "failed" if failing else "finished")
        searcher.on_trial_complete(f"tune{number}", None if failing else {"loss": 50.0 - number, "epoch": 4}, error=failing)
    return found


@pytest.mark.parametrize("searcher", ["random", "optuna"])
def test_a_killed_sweep_goes_on_with_the_same_list(shards: Path, tmp_path: Path, searcher: str) -> None:
    changes: dict[str, Any] = {"searcher": {"name": searcher, "startup_trials": 2}, "budget": {"trials": 6}}
    whole = small_place(tmp_path / "whole", shards, **changes)
    assert len(proposed(whole, 9)) == 6
    cut = small_place(tmp_path / "cut", shards, **changes)
    before = proposed(cut, 3)
    (cut.folder / "trials" / "001" / "trial.json").unlink()  # of the three, this one was killed in the middle
    after = proposed(cut, 9)
    assert [trial.name for trial in after] == ["001", "003", "004", "005"]
    assert after[0] == before[1]
    listed = read_trials(cut.folder)
    assert [trial.name for trial in listed] == [f"{number:03d}" for number in range(6)]
    assert listed[:3] == before
    if searcher == "random":
        assert listed == read_trials(whole.folder)
    assert proposed(cut, 9) == []


def test_trials_that_crash_use_up_the_budget_and_no_more(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards, searcher={"name": "optuna"})
    assert len(proposed(place, 9, failing=True)) == 5


def test_asha_remembers_the_trials_of_earlier_starts(place: SweepPlace) -> None:
    from tune.on_ray import _Ended

    fresh, told = (make_scheduler(place.sweep, records, 4) for records in ((), collected(place).records))
    for scheduler, decision in ((fresh, "CONTINUE"), (told, "STOP")):
        new = _Ended(trial_id="new")
        scheduler.on_trial_add(None, new)
        assert scheduler.on_trial_result(None, new, {"epoch": 1, "loss": 97.0}) == decision


def test_the_winner_came_to_its_end(place: SweepPlace) -> None:
    result = collected(place)
    assert result.winner is not None
    assert (result.winner.trial.name, result.winner.loss) == ("000", 30.0)
    early = [record for record in result.records if record.status != "finished"]
    winner = best_of(early)
    assert winner is not None
    assert winner.trial.name == "004"
    assert best_of([record for record in early if record.status == "failed"]) is None
    assert [trial.values["seed"] for trial in repeated(place, result.winner)] == [1, 2]
    assert not result.finished, "its values are to be repeated with two other seeds"


def test_the_report(place: SweepPlace, tmp_path: Path) -> None:
    """Takes seconds: MLflow creates its tables."""
    winner = collected(place).winner
    assert winner is not None
    for trial, scores in zip(repeated(place, winner), ([34.0], [35.0]), strict=True):
        leave_trial(place, trial, scores, status="finished")
    lines = (place.folder / "trials.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (place.folder / "trials.jsonl").write_text("".join(lines[:5]), encoding="utf-8")  # repeats aren't listed
    result = collected(place)
    assert result.finished
    assert result.mean_and_spread == pytest.approx((33.0, 2.6457513))
    assert sentence(result) == "best: trial 000, dev_wer/ensemble 30.00; with 3 seeds 33.00 ± 2.65 (mean, standard deviation)"
    tracker = MlflowTracker(place.folder, experiment="test", store=tmp_path)
    write_report(result, place.recipe, tracker)
    tracker.close()
    client = connect_client(embedded_uri(tmp_path))
    (run,) = client.search_runs([client.get_experiment_by_name("test").experiment_id])
    assert "| 000 | 0.3 | 0.0001 | adam | 30.00 | 4 | finished |" in run.data.tags["mlflow.note.content"]
    assert run.data.metrics["dev_wer/ensemble"] == 30.0
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"best.yaml", "plots", "result.json", "trials.csv"}
    assert {path.name for path in (place.folder / "plots").iterdir()} == {"parallel.png", "importance.png"}
    best = load_recipe(str(place.folder / "best.yaml"))
    assert (best.optim.lr, best.losses.weights["ctc_body"], best.tracking.register_as) == (1e-4, 0.3, "mska")
    assert best.run.name is None
    document = json.loads((place.folder / "result.json").read_text(encoding="utf-8"))
    assert document["seeds"]["scores"] == [30.0, 34.0, 35.0]
    assert [trial["reason"] for trial in document["trials"] if trial["reason"]] == ["boom"]
    console = Console(width=200)
    with console.capture() as shown:
        console.print(sweep_table(result))
    assert "failed: boom" in shown.get()


def test_a_report_of_few_trials_leaves_out_what_they_do_not_show(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards)
    leave_trial(place, Trial(name="000", values={"losses.weights.ctc_body": 1.0, "optim.lr": 1e-3, "optim.name": "adam"}), [50.0], status="finished")
    write_report(collected(place), place.recipe, NullTracker())
    assert {path.name for path in (place.folder / "plots").iterdir()} == {"parallel.png"}


def test_as_many_trials_at_once_as_have_room(shards: Path, tmp_path: Path) -> None:
    sweep = small_place(tmp_path, shards).sweep
    in_process, workers = (tiny_recipe(shards, f"train.num_workers={number}", "train.cpus_per_worker=2") for number in (0, 2))
    assert placing(in_process, sweep, cpus=9, gpus=0) == placing(in_process, sweep, cpus=8, gpus=0)
    assert placing(in_process, sweep, cpus=9, gpus=0).at_once == 4
    assert placing(workers, sweep, cpus=11, gpus=0).at_once == 2, "each has Ray Data's CPU beside its workers"
    assert placing(workers, sweep, cpus=2, gpus=0).at_once == 1
    assert placing(workers, sweep, cpus=900, gpus=0).at_once == 5
    few = sweep.model_copy(update={"budget": sweep.budget.model_copy(update={"at_once": 2})})
    assert placing(in_process, few, cpus=900, gpus=0).at_once == 2


def test_what_pbt_changes_stays_in_its_span(shards: Path, tmp_path: Path) -> None:
    sweep = small_place(tmp_path, shards).sweep
    assert [inside(sweep, "optim.lr", value) for value in (1e-6, 0.005, 0.5)] == [1e-4, 0.005, 1e-2]
    assert inside(sweep, "optim.name", "adamw") == "adamw"


def test_a_sweep_whose_trials_all_failed_says_why(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards, budget={"trials": 1})
    leave_trial(place, Trial(name="000", values={}), [], status="failed", reason="no room")
    with pytest.raises(TrainingError, match=r"no trial of .* has a score; the first that failed: no room"):
        run_sweep(place.sweep, place.recipe, place.folder)


def test_folders_and_command_line(shards: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(shards, f"run.root={tmp_path}", "run.name=mine")
    place = small_place(tmp_path / "other", shards)
    made, folder = new_sweep(place.sweep, recipe, name="weights")
    assert old_sweep(str(folder)) == (place.sweep, made, folder)
    with pytest.raises(RecipeError, match="holds a run of that name"):
        new_sweep(place.sweep, recipe, name="weights")
    (folder / "sweep.yaml").unlink()
    for arguments, message in (
        (["--resume", str(folder)], "holds one training and no sweep: continue it with python workloads/train.py --resume"),
        (["--resume", str(folder), "--set", "seed=1"], "--resume keeps the sweep's recipe"),
        (["--sweep", "nowhere.yaml"], "--sweep needs --recipe NAME"),
        (["--sweep", "nowhere.yaml", "--recipe", "mska_slr_small"], "no sweep file nowhere.yaml"),
        (["--sweep", "nowhere.yaml", "--recipe", "mska_slr_smal"], "did you mean 'mska_slr_small'"),
    ):
        with pytest.raises(RecipeError, match=message):
            sweep.main(arguments)
