"""Training on isolated signs, and ensembles of such trainings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.ray_cluster import ClusterInfo
from models.dsta_slr.network import DstaSlr
from models.ensemble import Ensemble, load
from models.errors import RecipeError, TrainingError
from tests.unit.tiny_signs import CLASSES, SIGNS
from tests.unit.workloads.tiny_runs import assert_same_weights, last_weights, run_loop, tiny_recipe, tiny_sign_recipe
from tests.unit.workloads.training.test_run import MemoryTracker
from workloads.recipe import Recipe
from workloads.training import members as members_module
from workloads.training import tracked as tracked_module
from workloads.training.checkpoints import CHECKPOINTS, best_checkpoint
from workloads.training.events import EVENTS, read_events
from workloads.training.folders import ended, old_run
from workloads.training.loop import STOP_FILE, Outcome
from workloads.training.members import MEMBERS, _at_once, _room
from workloads.training.run import new_run, train
from workloads.training.tasks import SignTask, Validation


class Parent(MemoryTracker):
    run_id = "parent"


@pytest.fixture(autouse=True)
def trackers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Parent]:
    """The trackers of all runs that the test makes, by the run's name."""
    made: dict[str, Parent] = {}

    def make(run_dir: Path, **settings: Any) -> Parent:
        return made.setdefault(settings["run_name"], Parent(run_dir, **settings))

    monkeypatch.setattr(tracked_module, "MlflowTracker", make)
    return made


def started(shards: Path, root: Path, *overrides: str) -> tuple[Recipe, Path]:
    return new_run(tiny_sign_recipe(shards, f"run.root={root}", "run.name=signs", *overrides))


def task(**changes: Any) -> SignTask:
    values: dict[str, Any] = {"classes": CLASSES, "references": {"a": "HAUS", "b": "WIND", "foreign": "WOLKE"}, "class_counts": (1,) * 7}
    return SignTask(**{**values, **changes})


def logits(*best: str) -> torch.Tensor:
    """(B, C) with the highest logit at the named sign, the next at the one after it."""
    rows = torch.zeros(len(best), len(SIGNS))
    for row, sign in zip(rows, best, strict=True):
        row[SIGNS.index(sign)], row[(SIGNS.index(sign) + 1) % len(SIGNS)] = 2.0, 1.0
    return rows


def test_top_1_counts_over_the_labelled_clips() -> None:
    names = ["a", "b", "foreign", "unlabelled"]
    answers = task().answers(names, {"sign": logits("HAUS", "SONNE", "BAUM", "BAUM")}, torch.ones(4))
    assert [answers[name]["sign"] for name in names] == [
        {"label": "HAUS", "rank": 0},
        {"label": "SONNE", "rank": 1},
        {"label": "BAUM", "rank": None},
        {"label": "BAUM", "rank": None},
    ]
    validation = task().score(answers)
    assert (validation.scores["sign"], validation.num_clips, validation.error("sign")) == (pytest.approx(100 / 3), 3, pytest.approx(200 / 3))
    assert validation.missed == {"sign": ("b", "foreign")}


def test_mere_chance_after_the_warm_up_is_told() -> None:
    missed = tuple(f"clip{number}" for number in range(43))
    chance = Validation(metric="top1", scores={"sign": 14.0}, num_clips=50, missed={"sign": missed})
    told = "the top-1 of sign is 14.0 % after the warm-up, chance is 14.3 %, wrong in 43 of 50 dev clips (clip0, clip1, clip2, clip3, clip4 and 38 more)"
    assert task().complaints(chance, "sign") == [f"{told}: check the labels and optim.lr"]
    assert task().complaints(replace(chance, scores={"sign": 40.0}), "sign") == []
    assert task().complaints(replace(chance, num_clips=3), "sign") == []


def test_the_best_checkpoint_has_the_highest_top_1(tiny_sign_shards: Path, tmp_path: Path) -> None:
    recipe = tiny_sign_recipe(tiny_sign_shards, "train.epochs=6", "train.keep_checkpoints=9").member("joint")
    assert run_loop(recipe, tmp_path).finished
    scores = [event["scores"]["sign"] for event in read_events(tmp_path / EVENTS) if event["kind"] == "validation"]
    best = best_checkpoint(tmp_path / CHECKPOINTS)
    assert best is not None
    assert best[1].scores == {"sign": max(scores)}
    lines = (best[0] / "dev_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["sign"]["rank"] == 0 for line in lines) == round(max(scores) / 100 * len(lines))


def test_twenty_clips_are_learned_by_heart(tiny_sign_shards: Path, tmp_path: Path) -> None:
    """A network of 20,000 weights, 125 steps."""
    fast = ("train.epochs=25", "optim.lr=2e-2", "losses.label_smoothing=0", "validation.every_epochs=25", "network.width=8")
    recipe = tiny_sign_recipe(tiny_sign_shards, *fast, "data.dev_split=train").member("joint")
    assert run_loop(recipe, tmp_path).finished
    [validation] = [event for event in read_events(tmp_path / EVENTS) if event["kind"] == "validation"]
    assert validation["scores"] == {"sign": 100.0}


def test_the_drop_modules_follow_the_epochs(tiny_sign_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[float] = []
    real = DstaSlr.begin_epoch

    def begin(self: DstaSlr, epoch: int) -> None:
        real(self, epoch)
        kept.append(self.keep_probability)

    monkeypatch.setattr(DstaSlr, "begin_epoch", begin)
    run_loop(tiny_sign_recipe(tiny_sign_shards, "train.epochs=3", "network.drop_per_epoch=0.2", "network.drop_most=0.3").member("joint"), tmp_path)
    assert kept == pytest.approx([1.0, 0.8, 0.7])


def test_an_ensemble_trains_each_member_and_scores_all_together(tiny_sign_shards: Path, tmp_path: Path, trackers: dict[str, Parent]) -> None:
    recipe, folder = started(tiny_sign_shards, tmp_path)
    result = train(recipe, folder)
    assert (result.outcome, result.exit_code, result.metric) == (Outcome(step=20, finished=True), 0, "top1")
    assert isinstance(result.bundle, Ensemble)
    assert ended(folder)
    assert result.dev_scores is not None
    assert list(result.dev_scores) == ["ensemble", "joint", "bone"]
    assert result.bundle.weights == {"joint": 1.5, "bone": 1.0}
    assert result.bundle.metrics["dev_top1"] == result.dev_scores
    assert [bundle.inputs.stream for bundle in result.bundle.members.values()] == ["joint", "bone"]  # type: ignore[attr-defined]
    assert {name: tracker.status for name, tracker in trackers.items()} == {"signs": "FINISHED", "signs/joint": "FINISHED", "signs/bone": "FINISHED"}
    assert trackers["signs/bone"].settings["tags"]["mlflow.parentRunId"] == "parent"
    assert trackers["signs/bone"].settings["store"] == tmp_path


def test_a_member_is_trained_as_it_would_be_alone(tiny_sign_shards: Path, tmp_path: Path) -> None:
    recipe, folder = started(tiny_sign_shards, tmp_path)
    train(recipe, folder)
    assert run_loop(recipe.member("bone"), tmp_path / "alone").finished
    assert_same_weights(last_weights(folder / MEMBERS / "bone"), last_weights(tmp_path / "alone"))


def test_a_stop_ends_the_member_and_a_resume_goes_on(tiny_sign_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder = started(tiny_sign_shards, tmp_path)
    real = members_module.run_workers

    def stopped(*arguments: Any, label: str, **options: Any) -> Any:
        if label == "bone":
            (arguments[1] / STOP_FILE).touch()
        return real(*arguments, label=label, **options)

    with monkeypatch.context() as patch:
        patch.setattr(members_module, "run_workers", stopped)
        result = train(recipe, folder)
    assert (result.bundle, result.outcome.finished, result.exit_code) == (None, False, 1)
    assert (ended(folder / MEMBERS / "joint"), ended(folder / MEMBERS / "bone"), ended(folder)) == (True, False, False)
    joint = (folder / MEMBERS / "joint" / EVENTS).read_bytes()
    assert train(*old_run(str(folder))).bundle == load(folder / "bundle")
    assert (folder / MEMBERS / "joint" / EVENTS).read_bytes() == joint
    assert run_loop(recipe.member("bone"), tmp_path / "alone").finished
    assert_same_weights(last_weights(folder / MEMBERS / "bone"), last_weights(tmp_path / "alone"))


def test_a_member_that_fails_is_named_and_the_others_are_kept(tiny_sign_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, folder = started(tiny_sign_shards, tmp_path)
    real = members_module.run_workers

    def failing(*arguments: Any, label: str, **options: Any) -> Any:
        if label == "joint":
            raise TrainingError("step 3: cross_entropy_sign not finite")
        return real(*arguments, label=label, **options)

    monkeypatch.setattr(members_module, "run_workers", failing)
    with pytest.raises(TrainingError, match=r"^joint: step 3: cross_entropy_sign not finite \(1 of 2 members failed; the others are kept: continue with"):
        train(recipe, folder)
    assert (ended(folder / MEMBERS / "joint"), ended(folder / MEMBERS / "bone")) == (False, True)


def test_members_train_at_once_where_there_is_room(tiny_sign_shards: Path) -> None:
    recipe = tiny_sign_recipe(tiny_sign_shards, "train.num_workers=1")
    gpus = tiny_sign_recipe(tiny_sign_shards, "train.num_workers=2", "train.gpus_per_worker=1")
    assert [_at_once(recipe, cpus=cpus, gpus=0, waiting=4) for cpus in (1, 2, 3, 64)] == [1, 2, 3, 4]
    assert [_at_once(gpus, cpus=64, gpus=count, waiting=4) for count in (2, 4, 7, 8)] == [1, 2, 3, 4]
    assert _at_once(tiny_sign_recipe(tiny_sign_shards), cpus=64, gpus=8, waiting=4) == 1, "in process one after the other"
    assert _at_once(tiny_sign_recipe(tiny_sign_shards, "train.num_workers=1", "ensemble.parallel=3"), cpus=2, gpus=0, waiting=4) == 3
    cluster = ClusterInfo(address="here", private=False, num_cpus=5, num_gpus=0, dashboard_url=None)
    assert _room(recipe, cluster, 4) == 2, "each needs a CPU for Ray Data, too"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("ensemble.members.bone={inputs.stream: bones}", "ensemble.members.bone: inputs.stream: input should be 'joint', 'bone'"),
        ("ensemble.members.bone={inputs.streams: bone}", "ensemble.members.bone: unknown key 'inputs.streams' (did you mean 'stream'?)"),
        ("ensemble.weights={bones: 1}", "ensemble: weights: 'bones' is no member (did you mean 'bone'?); there are: joint, bone"),
        ("ensemble.weights={joint: 0, bone: 0}", "ensemble: weights: their sum must be above 0"),
        ("ensemble.members={ensemble: {}, joint: {}}", "ensemble: members: 'ensemble' can't name a member"),
        ("losses.weights={ctc_fuse: 1}", "losses.weights.ctc_fuse is no loss term; there are: cross_entropy_sign"),
        ("decoding.beam_width=3", "unknown key 'decoding.beam_width'; valid here: head, low_confidence"),
        ("validation.select_by=ensemble", "validation.select_by: 'ensemble' is no head; there are: sign"),
        ("ensemble.weights={joint: .inf}", "ensemble.weights.joint: input should be a finite number, got inf"),
        (
            "ensemble.members.bone={data.shards: elsewhere}",
            "ensemble: members.bone: 'data.shards' is the same for all members; one may change inputs., network.",
        ),
        ("ensemble.members.bone={train.num_workers: 3}", "ensemble: members.bone: 'train.num_workers' is the same for all members"),
    ],
)
def test_what_an_ensemble_recipe_refuses(tiny_sign_shards: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        started(tiny_sign_shards, tmp_path, override)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "signs").exists()


def test_only_isolated_signs_have_members(tiny_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="ensemble: members recognise isolated signs or translate, and mska_slr recognises glosses"):
        tiny_recipe(tiny_shards, "ensemble={members: {a: {seed: 1}, b: {seed: 2}}}")
    with pytest.raises(RecipeError, match=r"demo_isolated has no member 'bon' \(did you mean 'bone'\?\); there are: joint, bone"):
        tiny_sign_recipe(tiny_shards).member("bon")


def test_signs_need_labels_and_sentences_need_glosses(tiny_shards: Path, tiny_sign_shards: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"^26 training clips have no label: .*: dsta_slr learns from labelled signs"):
        started(tiny_shards, tmp_path)
    with pytest.raises(TrainingError, match=r"^20 training clips have no glosses: .*: mska_slr learns from gloss sentences"):
        new_run(tiny_recipe(tiny_sign_shards, f"run.root={tmp_path}"))
