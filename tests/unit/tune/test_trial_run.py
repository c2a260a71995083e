"""A trial is the run that train.py makes: told by the epoch, ended early with a bundle, resumed after a kill. In this process, without Tune."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.bundle import load_bundle
from models.errors import RecipeError
from tests.unit.tune.sweeps import leave_trial, small_place
from tests.unit.workloads.tiny_runs import assert_same_weights, last_weights, write_tiny_shards
from tune.sweeping import collected
from tune.trial_run import STOP, PopulationRun, SweepPlace, Told, TrialRun
from tune.trials import Trial, append_trial, read_record, read_trials
from workloads.recipe import load_recipe
from workloads.training.folders import ENDED
from workloads.training.run import new_run, train

VALUES = {"losses.weights.ctc_body": 0.5, "optim.lr": 2e-3, "optim.name": "adamw"}
ALIVE = {"optim.lr": {"low": 1e-4, "high": 1e-2, "log": True}}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("corpus") / "shards")


def heard(run: TrialRun | PopulationRun) -> list[Told]:
    told = list(iter(run.next, None))
    run.end()
    return told


def test_a_trial_is_the_run_that_train_makes(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards)
    trial = Trial(name="000", values=VALUES)
    told = heard(TrialRun(place, trial))
    assert [each.epoch for each in told] == [1, 2]
    record = read_record(place.sweep, place.folder, trial)
    assert (record.status, record.epochs, record.loss) == ("finished", 2, min(each.loss for each in told))
    recipe = load_recipe(str(trial.folder(place.folder) / "recipe.yaml"), [f"run.root={tmp_path}", "run.name=plain"])
    assert (recipe.optim.lr, recipe.optim.name, dict(recipe.losses.weights)) == (2e-3, "adamw", {"ctc_body": 0.5})
    recipe, folder = new_run(recipe)
    train(recipe, folder)
    assert_same_weights(last_weights(trial.folder(place.folder)), last_weights(folder))
    assert load_bundle(trial.folder(place.folder) / "bundle").checksum == load_bundle(folder / "bundle").checksum
    assert (tmp_path / "mlflow.db").exists(), "trials and sweep are tracked in one place"


def test_a_trial_that_is_stopped_early_has_a_bundle_of_its_best(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards, "train.epochs=40")
    trial = Trial(name="000", values=VALUES)
    run = TrialRun(place, trial)
    first = run.next()
    assert first is not None
    run.end()
    while run.next():
        pass  # raises what the training raised
    record = read_record(place.sweep, place.folder, trial)
    assert record.status == "stopped early"
    assert 1 <= record.epochs < 40
    assert load_bundle(trial.folder(place.folder) / "bundle").metrics["dev_wer"]["ensemble"] == record.loss
    assert (trial.folder(place.folder) / ENDED).exists()


def test_a_sweep_that_is_stopped_leaves_trials_that_go_on(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards, "train.epochs=3")
    trial = Trial(name="000", values=VALUES)
    run = TrialRun(place, trial)
    assert run.next() is not None
    (place.folder / STOP).touch()
    run.end()
    (place.folder / STOP).unlink()
    assert read_record(place.sweep, place.folder, trial).status in ("unfinished", "finished")  # the last epochs may have been quicker than the stop
    told = heard(TrialRun(place, trial))
    assert [each.epoch for each in told] == [1, 2, 3], "what was validated before is told again"
    undisturbed = small_place(tmp_path / "other", shards, "train.epochs=3")
    heard(TrialRun(undisturbed, trial))
    assert_same_weights(last_weights(trial.folder(place.folder)), last_weights(trial.folder(undisturbed.folder)))


def test_what_a_training_raises_is_raised(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards)
    run = TrialRun(place, Trial(name="000", values=VALUES))
    shutil.rmtree(shards / "dev", ignore_errors=False)
    try:
        with pytest.raises(Exception, match="dev"):
            run.next()
        run.end()
    finally:
        shutil.rmtree(shards)
        write_tiny_shards(shards)
    with pytest.raises(RecipeError, match="trial 001: "):
        TrialRun(place, Trial(name="001", values={"optim.lr": -1.0}))


def test_a_member_of_a_population_goes_on_from_anothers_weights(shards: Path, tmp_path: Path) -> None:
    place = small_place(tmp_path, shards, "train.epochs=3", space=ALIVE, scheduler={"name": "pbt"})
    for name, rate in (("000", 1e-3), ("001", 5e-3)):
        append_trial(place.folder, Trial(name=name, values={"optim.lr": rate}))
    good, bad = (PopulationRun(place, trial) for trial in read_trials(place.folder))
    for run in (good, bad):
        told = run.next()
        assert told is not None
        assert (told.epoch, run.epoch) == (1, 1)
    good.save(tmp_path / "handed")
    bad.end()
    clone = PopulationRun(place, Trial(name="001", values={"optim.lr": 1.2e-3}))
    clone.load(tmp_path / "handed")
    assert_same_weights(last_weights(place.folder / "trials" / "000"), last_weights(place.folder / "trials" / "001"))
    assert [told.epoch for told in heard(clone)] == [2, 3]
    good.end()
    records = collected(place).records
    assert [record.status for record in records] == ["unfinished", "finished"]
    assert records[1].trial.values == {"optim.lr": 1.2e-3}
    assert list(records[1].losses) == [3], "the weights that were validated before are gone"
    assert load_bundle(place.folder / "trials" / "001" / "bundle").metrics["epoch"] in (1, 2, 3)


def test_a_torn_list_and_records_of_all_kinds(shards: Path, tmp_path: Path) -> None:
    place: SweepPlace = small_place(tmp_path, shards)
    leave_trial(place, Trial(name="000", values=VALUES), [90.0, 40.0, 60.0], status="finished")
    leave_trial(place, Trial(name="001", values=VALUES), [], status="failed", reason="out of memory")
    leave_trial(place, Trial(name="002", values=VALUES), [80.0])
    with (place.folder / "trials.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"name": "003", "val')
    whole, failed, cut = collected(place).records
    assert (whole.loss, whole.best_epoch, whole.epochs, whole.scores["ensemble"]) == (40.0, 2, 3, 40.0)
    assert (failed.status, failed.reason, failed.loss) == ("failed", "out of memory", None)
    assert (cut.status, cut.ended, cut.loss) == ("unfinished", False, 80.0)
