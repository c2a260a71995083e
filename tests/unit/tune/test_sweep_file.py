"""Sweep files: what they draw, and what they refuse, in one line with the nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.environment import REPOSITORY_ROOT
from models.errors import RecipeError
from tests.unit.tune.sweeps import SWEEP, small_sweep
from tune.proposals import OptunaProposer, RandomProposer, to_optuna, trial_name
from tune.sweep_file import Span, Sweep, load_sweep
from tune.trials import Trial
from workloads.recipe import Recipe, load_recipe

RECIPE = load_recipe("mska_slr_small", ["train.epochs=4"])
SPANS = [
    Span(low=0.1, high=3.0, log=True),
    Span(low=-1.0, high=1.0),
    Span(low=0.0, high=0.5, step=0.1),
    Span(low=2, high=9, integer=True),
    Span(low=1, high=64, integer=True, log=True),
    Span(low=4, high=16, integer=True, step=4),
    Span(choices=([1, 2], "a", None)),
]


@pytest.mark.parametrize("path", sorted((REPOSITORY_ROOT / "tune" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_that_comes_with_signray_fits_its_recipe(path: Path) -> None:
    recipe = next(word for line in path.read_text(encoding="utf-8").splitlines() if "--recipe" in line for word in line.split("--recipe ")[1].split())
    assert load_sweep(path, load_recipe(recipe)).metric.startswith("dev_")


@pytest.mark.parametrize("span", SPANS, ids=str)
def test_draws_lie_in_the_span_and_on_its_steps(span: Span) -> None:
    generator = np.random.default_rng(0)
    drawn = [span.draw(generator) for _ in range(200)]
    if span.choices is not None:
        assert {str(value) for value in drawn} == {str(choice) for choice in span.choices}
        return
    low, high = span.bounds
    assert all(low <= value <= high for value in drawn)
    assert max(drawn) > low + 0.8 * (high - low)
    assert not span.integer or all(isinstance(value, int) for value in drawn)
    if span.step:
        assert all(abs((value - low) / span.step - round((value - low) / span.step)) < 1e-6 for value in drawn)


@given(seed=st.integers(0, 50), number=st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_random_values_depend_on_seed_and_number_alone(seed: int, number: int) -> None:
    sweep = small_sweep(RECIPE, searcher={"name": "random", "seed": seed})
    first = RandomProposer(sweep)
    for other in range(3):
        first.propose(other)
    assert first.propose(number) == RandomProposer(sweep).propose(number)
    Trial(name="000", values=first.propose(number)).recipe(RECIPE)


def test_optuna_is_told_and_repeats_itself() -> None:
    sweep = Sweep(space=dict(zip("abcdefg", SPANS, strict=True)), budget={"trials": 30}, searcher={"name": "optuna", "startup_trials": 4})  # type: ignore[arg-type]

    def run(proposer: OptunaProposer) -> list[dict[str, Any]]:
        proposed = []
        for number in range(12):
            proposed.append(proposer.propose(number))
            proposer.tell(Trial(name=trial_name(number), values=proposed[-1]), None if number == 3 else abs(proposed[-1]["b"] - 0.3))
        return proposed

    proposed = run(OptunaProposer(sweep))
    assert proposed == run(OptunaProposer(sweep))
    resumed = OptunaProposer(sweep)
    for number, values in enumerate(proposed):
        resumed.tell(Trial(name=trial_name(number), values=values), None if number == 3 else abs(values["b"] - 0.3))
    assert set(resumed.propose(12)) == set(sweep.space)
    assert all(to_optuna(span, values[key]) is not None for values in proposed for key, span in sweep.space.items())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"spaces": {}}, r"^sweep.yaml: unknown key 'spaces' \(did you mean 'space'\?\); valid here: "),
    ({"space": {}}, r"^sweep.yaml: space: "),
    ({"space": {"optim.lrr": {"low": 1, "high": 2}}}, r"space.optim.lrr: unknown key 'optim.lrr' \(did you mean 'lr'\?\)"),
    ({"space": {"losses.weights.ctc_boby": {"low": 1, "high": 2}}}, r"losses.weights.ctc_boby is no loss term \(did you mean 'ctc_body'\?\)"),
    ({"space": {"optim.lr": {"low": 0.0, "high": 2}}}, r"space.optim.lr: optim.lr: input should be greater than 0, got 0.0"),
    ({"space": {"optim.lr": {"low": 0.0, "high": 2, "log": True}}}, r"space.optim.lr: log needs low above 0"),
    ({"space": {"optim.lr": {"low": 3, "high": 2}}}, r"space.optim.lr: low and high are both needed, and low below high"),
    ({"space": {"optim.lr": {"low": 3}}}, r"space.optim.lr: low and high are both needed"),
    ({"space": {"optim.lr": {}}}, r"space.optim.lr: either choices"),
    ({"space": {"optim.lr": {"choices": [1], "log": True}}}, r"space.optim.lr: log, integer and step belong to low and high"),
    ({"space": {"optim.lr": {"low": 1, "high": 2.5, "integer": True}}}, r"space.optim.lr: integer needs whole numbers"),
    ({"space": {"optim.name": {"choices": ["adam", "adams"]}}}, r"space.optim.name: optim.name: input should be 'adam', 'adamw' or 'sgd', got 'adams'"),
    ({"space": {"seed": {"low": 1, "high": 5, "integer": True}}}, r"space.seed is the same for all trials: set it for the sweep with --set seed="),
    ({"space": {"run.name": {"choices": ["a"]}}}, r"space.run.name is the same for all trials"),
    ({"metric": "dev_wer/ensembel"}, r"metric: 'dev_wer/ensembel' is none \(did you mean 'dev_wer/ensemble'\?\)"),
    ({"scheduler": {"name": "ashaa"}}, r"scheduler.name: input should be 'asha', 'pbt' or 'none', got 'ashaa'"),
    ({"scheduler": {"grace_epoch": 2}}, r"unknown key 'scheduler.grace_epoch' \(did you mean 'grace_epochs'\?\)"),
    ({"scheduler": {"grace_epochs": 9}}, r"scheduler.grace_epochs is 9, and a trial has 4 epochs"),
    ({"scheduler": {"name": "pbt"}}, r"space.optim.name can't change in the middle of a run, as pbt needs"),
    ({"budget": {"trials": 0}}, r"budget.trials: input should be greater than 0"),
    ({"budget": {}}, r"budget.trials is missing"),
    ({"searcher": {"name": "grid"}}, r"searcher.name: input should be 'random' or 'optuna', got 'grid'"),
    ({"seeds": 0}, r"seeds: input should be greater than 0"),
]
ALIVE = {"optim.lr": {"low": 1e-4, "high": 1e-2}}


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_mistakes_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        small_sweep(RECIPE, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"searcher": {"name": "optuna"}}, "searcher optuna proposes values at a trial's start alone"),
        ({"seeds": 3}, "seeds: 3: the values of pbt change in a run"),
        ({"budget": {"trials": 1}}, "pbt needs two trials at least, got 1"),
    ],
)
def test_pbt_is_not_combined_with_what_it_has_no_use_for(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        small_sweep(RECIPE, space=ALIVE, scheduler={"name": "pbt"}, **changes)


def test_pbt_changes_where_the_recipe_validates(tmp_path: Path) -> None:
    recipe = RECIPE.changed({"validation.every_epochs": 2}, where="test")
    with pytest.raises(RecipeError, match=r"interval_epochs must be a multiple of the recipe's validation\.every_epochs, 2"):
        small_sweep(recipe, space=ALIVE, scheduler={"name": "pbt", "interval_epochs": 3})


def test_an_ensemble_is_swept_by_member(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="demo_isolated trains an ensemble, and a sweep varies one network"):
        small_sweep(load_recipe("demo_isolated"), space=ALIVE)
    member: Recipe = load_recipe("demo_isolated", ["ensemble=null", "inputs.stream=bone"])
    sweep = small_sweep(member, space=ALIVE)
    assert (sweep.metric, sweep.loss(90.0)) == ("dev_top1/sign", 10.0)


def test_a_file_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "weights.yaml").write_text("space: {}\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"no sweep file .*weigths.yaml \(did you mean 'weights.yaml'\?\)"):
        load_sweep(tmp_path / "weigths.yaml", RECIPE)
    (tmp_path / "broken.yaml").write_text("space: {\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"broken\.yaml: not YAML"):
        load_sweep(tmp_path / "broken.yaml", RECIPE)
    assert SWEEP["budget"] == {"trials": 5}
