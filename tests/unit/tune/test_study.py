"""A sweep's trials in a database: what it holds while trials come and end, what a later sweep learns from it, and what happens while it is away."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import optuna
import pytest

from models.errors import RecipeError
from tests.unit.tune.sweeps import SWEEP, leave_trial, small_place
from tests.unit.workloads.tiny_runs import tiny_recipe, write_tiny_shards
from tune.proposals import Ledger
from tune.study import STORAGE, TRIAL_KEY, VALUES_KEY, Study, copied, earlier_trials
from tune.sweep_file import parse_sweep
from tune.sweeping import collected, new_sweep
from tune.trial_run import SweepPlace
from tune.trials import Trial, end_trial

VALUES = {"losses.weights.ctc_body": 0.5, "optim.lr": 2e-3, "optim.name": "adamw"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("corpus") / "shards")


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def sweep_place(folder: Path, shards: Path, storage: str | None, **searcher: Any) -> SweepPlace:
    return small_place(folder, shards, searcher={"name": "optuna", "storage": storage, "startup_trials": 2, **searcher})


def trial(number: int, **values: Any) -> Trial:
    return Trial(name=f"{number:03d}", values={**VALUES, **values})


def stored_trials(storage: str, study: str = "sweep") -> dict[str, optuna.trial.FrozenTrial]:
    """The database's trials by their own names; no name is there twice."""
    trials = optuna.load_study(storage=storage, study_name=study).get_trials()
    named = {each.user_attrs[TRIAL_KEY]: each for each in trials}
    assert len(named) == len(trials)
    return named


def test_the_database_holds_what_the_folder_holds(shards: Path, tmp_path: Path, storage: str) -> None:
    place = sweep_place(tmp_path, shards, storage)
    leave_trial(place, trial(0), [90.0, 60.0], status="finished")
    leave_trial(place, trial(1), [95.0], status="stopped early")
    leave_trial(place, trial(2), [], status="failed", reason="boom")
    leave_trial(place, trial(3), [80.0])
    study = Study(place.sweep, place.folder)
    assert study.write(collected(place).records) == 4
    assert study.write(collected(place).records) == 0, "nothing has changed"
    trials = stored_trials(storage)
    assert {name: each.state.name for name, each in trials.items()} == {"000": "COMPLETE", "001": "PRUNED", "002": "FAIL", "003": "RUNNING"}
    assert trials["000"].value == 60.0
    assert trials["000"].intermediate_values == {1: 90.0, 2: 60.0}
    assert trials["001"].value == 95.0
    assert trials["002"].value is None
    assert trials["003"].params == {"losses.weights.ctc_body": 0.5, "optim.lr": 2e-3, "optim.name": 1}, "choices by their place"
    assert trials["003"].user_attrs[VALUES_KEY]["optim.name"] == "adamw"
    end_trial(trial(3).folder(place.folder), "finished")
    again = Study(place.sweep, place.folder)  # the next start of a killed sweep
    again.write(collected(place).records)
    assert stored_trials(storage)["003"].state.name == "COMPLETE"
    assert stored_trials(storage)["003"].value == 80.0


def test_sweeps_of_one_study_learn_from_each_other(shards: Path, tmp_path: Path, storage: str) -> None:
    first = sweep_place(tmp_path / "first", shards, storage, study="mska")
    for number in range(12):  # the loss falls with the weight
        weight = 0.2 + 0.2 * number
        leave_trial(first, trial(number, **{"losses.weights.ctc_body": weight}), [90.0 - 30.0 * weight], status="finished")
    Study(first.sweep, first.folder).write(collected(first).records)
    heard: list[str] = []
    second = sweep_place(tmp_path / "second", shards, storage, study="mska")
    known = earlier_trials(second.sweep, second.folder, heard.append)
    assert [round(each.loss) for each in known] == [round(90 - 30 * (0.2 + 0.2 * number)) for number in range(12)]
    assert heard == ["study mska: the search knows 12 trials of other sweeps"]
    assert earlier_trials(first.sweep, first.folder, heard.append) == [], "its own are in its list"
    taught, untaught = Ledger(second.sweep, [], known), Ledger(second.sweep, [])
    found = [[ledger.next()[0].values["losses.weights.ctc_body"] for _ in range(5)] for ledger in (taught, untaught)]  # type: ignore[index]
    taught_median, untaught_median = (statistics.median(values) for values in found)
    assert taught_median > 1.5 > untaught_median, "it begins where the other sweep ended"
    other = parse_sweep(
        {**SWEEP, "space": {"optim.lr": {"low": 1e-4, "high": 1.0}}, "searcher": {"name": "optuna", "storage": storage, "study": "mska"}},
        second.recipe,
        where="f",
    )
    assert earlier_trials(other, tmp_path / "third", heard.append) == [], "trials of another space say nothing"


def test_a_database_that_is_away_holds_nothing_up(shards: Path, tmp_path: Path) -> None:
    folder = tmp_path / "database"
    place = sweep_place(tmp_path, shards, f"sqlite:///{folder}/studies.db")
    leave_trial(place, trial(0), [90.0, 60.0], status="finished")
    heard: list[str] = []
    assert earlier_trials(place.sweep, place.folder, heard.append) == []
    assert "database is away (unable to open database file): what other sweeps know is left out" in heard.pop()
    with copied(place.sweep, place.folder, heard.append, interval_s=0.05):
        wait_for(heard, "is away")
        folder.mkdir()
        wait_for(heard, "is back: 1 trials written")
        leave_trial(place, trial(1), [50.0], status="finished")
    assert len(heard) == 2
    assert set(stored_trials(f"sqlite:///{folder}/studies.db")) == {"000", "001"}, "the last is written at the end"


def test_what_could_not_be_written_is_told_and_kept(shards: Path, tmp_path: Path) -> None:
    place = sweep_place(tmp_path, shards, f"sqlite:///{tmp_path}/nowhere/studies.db")
    leave_trial(place, trial(0), [90.0], status="finished")
    heard: list[str] = []
    with copied(place.sweep, place.folder, heard.append, interval_s=0.05, end_s=0.2):
        pass
    assert f"its trials are kept in {place.folder}, and sent with python tune/sweep.py --resume {place.folder}" in heard[-1]


def test_the_variable_of_optuna_names_it_too(shards: Path, tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STORAGE, storage)
    place = sweep_place(tmp_path, shards, None)
    leave_trial(place, trial(0), [90.0], status="finished")
    with copied(place.sweep, place.folder, print, interval_s=0.05):
        pass
    assert set(stored_trials(storage)) == {"000"}
    random = small_place(tmp_path / "random", shards)
    with copied(random.sweep, random.folder, print, interval_s=0.05):
        pass
    assert optuna.get_all_study_names(storage) == ["sweep"], "a random search has no study"


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        ({"name": "optuna", "storage": "postgresql://signray:swordfish@host/db"}, "the URL holds a password"),
        ({"name": "random", "storage": "sqlite:///a.db"}, "storage and study belong to searcher optuna"),
        ({"name": "random", "study": "mska"}, "storage and study belong to searcher optuna"),
    ],
)
def test_what_a_sweep_file_may_not_say(shards: Path, searcher: dict[str, str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        parse_sweep({**SWEEP, "searcher": searcher}, tiny_recipe(shards), where="sweep.yaml")
    assert "swordfish" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://signray@127.0.0.1:1/studies", "onnection refused"),
        ("sqlite:////proc/none/studies.db", "unable to open database file"),
        ("studies", "Could not parse SQLAlchemy URL"),
        ("oracle+cx_oracle://host/studies", "No module named"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_before_anything_starts(
    shards: Path, tmp_path: Path, url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(shards, f"run.root={tmp_path}")
    sweep = parse_sweep({**SWEEP, "searcher": {"name": "optuna", "storage": url}}, recipe, where="sweep.yaml")
    began = time.monotonic()
    with pytest.raises(RecipeError, match=rf"searcher.storage .*{reason}.*: start the database, or mend the URL") as error:
        new_sweep(sweep, recipe, name="x")
    assert time.monotonic() - began < 15
    assert "\n" not in str(error.value)
    assert not any(path.is_dir() and path.name != "sweep" for path in tmp_path.iterdir()), "no folder is left"


def wait_for(heard: list[str], text: str) -> None:
    deadline = time.monotonic() + 20
    while not any(text in line for line in heard):
        assert time.monotonic() < deadline, heard
        time.sleep(0.02)
