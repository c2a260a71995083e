"""A run's folder: its name, its root, what may change when it is continued."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import RecipeError, ShardError
from tests.unit.workloads.tiny_runs import started, tiny_recipe
from workloads.training.folders import named_run, old_run, runs_root
from workloads.training.run import new_run


def test_runs_of_the_same_second_have_folders_of_their_own(tiny_shards: Path, tmp_path: Path) -> None:
    folders = [started(tiny_shards, tmp_path)[1] for _ in range(3)]
    assert len(set(folders)) == 3
    assert [old_run(str(folder))[0].run.name for folder in folders] == [folder.name for folder in folders]


def test_a_name_is_given_once(tiny_shards: Path, tmp_path: Path) -> None:
    _, folder = started(tiny_shards, tmp_path, "run.name=mine")
    assert folder == tmp_path / "mine"
    with pytest.raises(RecipeError, match=r"holds a run of that name: continue it with --resume .*mine, or choose another with --set run.name=NAME"):
        started(tiny_shards, tmp_path, "run.name=mine")


def test_a_job_that_is_started_again_continues_the_run_of_its_name(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_shards, f"run.root={tmp_path}", "run.name=mine")
    assert named_run(recipe) is None
    begun, folder = new_run(recipe)
    assert named_run(recipe) == (begun, folder)
    with pytest.raises(RecipeError, match=r"--or-resume finds a run by its name: give one with --set run.name=NAME"):
        named_run(tiny_recipe(tiny_shards))


def test_paths_do_not_depend_on_where_a_run_is_continued(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_shards.parent)
    recipe, folder = new_run(tiny_recipe(Path(tiny_shards.name), "run.root=some/runs", "run.name=r"))
    assert folder == tiny_shards.parent / "some/runs/r"
    assert recipe.data.shards == str(tiny_shards)
    monkeypatch.chdir(tmp_path)
    assert old_run(str(folder))[0] == recipe


def test_missing_shards_leave_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"no such folder of shards; make it with preprocess --out"):
        new_run(tiny_recipe(tmp_path / "nowhere", f"run.root={tmp_path}/runs"))
    assert not (tmp_path / "runs").exists()


def test_a_job_keeps_its_runs_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's working directory vanishes with it."""
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()  # of the submitter, uploaded with the working directory
    assert runs_root("runs") == tmp_path / "signray" / "runs"
    assert runs_root("/elsewhere/runs") == Path("/elsewhere/runs")


def test_what_may_change_on_resume(tiny_shards: Path, tmp_path: Path) -> None:
    recipe, folder = started(tiny_shards, tmp_path, "run.name=mine")
    changed, _ = old_run("mine", root=str(tmp_path), overrides=["tracking.uri=http://a:1", "train.log_steps=3"])
    assert (changed.tracking.uri, changed.train.log_steps, changed.optim) == ("http://a:1", 3, recipe.optim)
    with pytest.raises(RecipeError, match=r"^--set optim.lr=1: a resumed run keeps its recipe; only tracking\., "):
        old_run(str(folder), overrides=["optim.lr=1"])
    for override, message in (("tracking.uri", "'tracking.uri': expected KEY=VALUE"), ("tracking.uri=[", r"tracking.uri=\[: '\[' is not a YAML value")):
        with pytest.raises(RecipeError, match=f"^--set {message}[^\n]*$"):
            old_run(str(folder), overrides=[override])
    with pytest.raises(RecipeError, match=r"^no run 'mein' under .*; there are: mine; or give the run's folder$"):
        old_run("mein", root=str(tmp_path))
    (folder / "recipe.yaml").write_text("data: [")
    with pytest.raises(RecipeError, match="not YAML"):
        old_run(str(folder))
