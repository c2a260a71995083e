"""Chains of stages: what the shipped ones say, what is said of a wrong one, and that stages go on where they stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import RecipeError
from workloads import chain as chains
from workloads.chain import Chain, Stage, chain_names, load_chain, run_chain
from workloads.recipe import load_recipe
from workloads.training.folders import BUNDLE, ENDED, RECIPE


@pytest.mark.parametrize("name", chain_names())
def test_every_chain_names_recipes_and_what_they_may_start_from(name: str) -> None:
    for stage in load_chain(name).stages:
        load_recipe(stage.recipe, [*(f"init.{part}=somewhere" for part in stage.init), *stage.changes])


def test_recipes_that_two_systems_share_become_each_ones_published_stage() -> None:
    """The TwoStream specification: crop, seed and trunk of the recogniser from pictures on Phoenix-2014T."""
    found = {}
    for name in ("singlestream_slt_phoenix2014t", "twostream_slt_phoenix2014t"):
        recipe = next(load_recipe(stage.recipe, stage.changes) for stage in load_chain(name).stages if stage.recipe == "singlestream_rgb_phoenix2014t")
        found[name] = (recipe.inputs.model_dump()["centre_crop"], recipe.seed, Path(recipe.init["trunk"]).name)
    assert found == {
        "singlestream_slt_phoenix2014t": (224, 321, "s3ds_glosscls_ckpt.pth.tar"),
        "twostream_slt_phoenix2014t": (None, 42, "s3ds_actioncls_ckpt.pt"),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: []", "stages: List should have at least 1 item|stages: Tuple should have at least 1 item"),
        ("stages: [{name: a, recipe: demo, init: {translator: b}}]", "stage 'a' starts from 'b', and no stage before it has that name"),
        ("stages: [{name: a, recipe: demo}, {name: a, recipe: demo}]", "two stages are called 'a'"),
        ("stages: [{name: a, recipe: demo, inits: {}}]", r"stages\.0\.inits: Extra inputs"),
    ],
)
def test_a_wrong_chain_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "chain.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        load_chain(str(path))


def test_unknown_chains_and_stages_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no chain 'nothing'; there are: demo_slt,"):
        load_chain("nothing")
    with pytest.raises(RecipeError, match=r"expected STAGE\.KEY=VALUE with one of the stages recogniser, g2t, joint"):
        run_chain(load_chain("demo_slt"), tmp_path, ["optim.lr=1"])


def test_a_mistake_in_a_later_stage_is_told_before_the_first_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "train", lambda *_: pytest.fail("a stage began"))
    chain = Chain(stages=(Stage(name="first", recipe="demo"), Stage(name="second", recipe="demo_slt", init={"recognizer": "first"})))
    with pytest.raises(RecipeError, match=r"init\.recognizer is nothing that mska_slt begins with \(did you mean 'recogniser'\?\)"):
        run_chain(chain, tmp_path)
    with pytest.raises(RecipeError, match=r"unknown key 'optim\.lrr'"):
        run_chain(load_chain("demo_slt"), tmp_path, ["joint.optim.lrr=1"])
    assert not list(tmp_path.iterdir())


def test_stages_that_are_done_are_passed_over_and_others_start_from_their_bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training itself is tested elsewhere: here it is stopped at once, and what it was given is kept."""
    second = Stage(name="second", recipe="demo_slt", init={"translator": "first"}, changes=("seed=7", "optim.lr=0.1"))
    chain = Chain(stages=(Stage(name="first", recipe="demo"), second))
    (tmp_path / "first" / BUNDLE).mkdir(parents=True)
    (tmp_path / "first" / ENDED).touch()
    begun = []

    def stop(recipe: object) -> object:
        begun.append(recipe)
        raise RecipeError("stopped")

    monkeypatch.setattr(chains, "new_run", stop)
    with pytest.raises(RecipeError, match="stopped"):
        run_chain(chain, tmp_path, ["second.optim.lr=0.5"])
    [recipe] = begun
    assert (recipe.run.name, recipe.run.root, recipe.optim.lr, recipe.seed) == ("second", str(tmp_path), 0.5, 7), "what is given wins over the chain's own"
    assert recipe.init == {"translator": str(tmp_path / "first" / BUNDLE)}
    assert not (tmp_path / "second" / RECIPE).exists()
