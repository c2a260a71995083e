"""The training loop in process: it learns, resumes to the bit, and says what is wrong in one line."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models import systems
from models.batch import Batch
from models.errors import ShardError
from models.losses.ctc import recognition_losses
from models.systems import SYSTEMS
from tests.unit.workloads.tiny_runs import altered_shards, assert_same_weights, last_weights, messages, run_loop, setting_of, tiny_recipe
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.training import checkpoints as checkpoints_module
from workloads.training import loop
from workloads.training.batches import EpochBatches
from workloads.training.checkpoints import CHECKPOINTS, PREDICTIONS, WEIGHTS, checkpoints, read_position
from workloads.training.events import EVENTS, read_events
from workloads.training.faults import FAULT_FILE
from workloads.training.loop import STOP_FILE, Outcome, run_training
from workloads.training.session import LocalSession

# DeepSpeed's ZeRO uses what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning"),
]

DROPOUT = "network.attention_dropout=0.3"


@pytest.fixture(scope="module")
def recipe(tiny_shards: Path) -> Recipe:
    return tiny_recipe(tiny_shards, DROPOUT)


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing happened to: two epochs of six steps."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_loop(recipe, folder) == Outcome(step=12, finished=True)
    return folder


def steps(folder: Path) -> list[dict[str, Any]]:
    return [event for event in read_events(folder / EVENTS) if event["kind"] == "step"]


def test_a_run_tells_what_it_does(undisturbed: Path) -> None:
    events = read_events(undisturbed / EVENTS)
    assert [event["kind"] for event in events] == [*["step"] * 6, "validation", "checkpoint"] * 2
    terms = {"loss", *(f"{kind}_{head}" for kind in ("ctc", "distil") for head in ("left", "right", "fuse", "body"))}
    assert all(event["terms"].keys() == terms for event in steps(undisturbed))
    assert steps(undisturbed)[0]["terms"]["loss"] == pytest.approx(
        sum(value for name, value in steps(undisturbed)[0]["terms"].items() if name != "loss"), rel=1e-4
    )
    [first, last] = [event for event in events if event["kind"] == "validation"]
    assert (first["step"], first["epoch"], first["clips"]) == (6, 0, 5)
    assert last["scores"].keys() == {"ensemble", "left", "right", "fuse", "body"}


def test_a_checkpoint_after_each_validation_with_its_predictions(undisturbed: Path) -> None:
    newest, first = checkpoints(undisturbed / CHECKPOINTS)
    position = read_position(newest)
    assert (position.step, position.epoch, position.batches_done) == (12, 2, 0)
    assert position.error == position.scores["ensemble"]
    predictions = [json.loads(line) for line in (newest / PREDICTIONS).read_text(encoding="utf-8").splitlines()]
    assert len(predictions) == 5
    assert predictions[0].keys() == {"name", "ensemble", "left", "right", "fuse", "body"}
    assert read_position(first).step == 6


def test_a_checkpoint_at_the_end_of_an_epoch_without_validation(tiny_shards: Path, tmp_path: Path) -> None:
    run_loop(tiny_recipe(tiny_shards, "train.epochs=2", "validation.every_epochs=2", "train.checkpoint_steps=6"), tmp_path)
    first = read_position(checkpoints(tmp_path / CHECKPOINTS)[-1])
    assert (first.step, first.epoch, first.batches_done, first.error) == (6, 1, 0, None)


def test_the_same_recipe_gives_the_same_run(recipe: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    run_loop(recipe, tmp_path)
    assert_same_weights(last_weights(tmp_path), last_weights(undisturbed))
    assert [event["terms"] for event in steps(tmp_path)] == [event["terms"] for event in steps(undisturbed)]


def test_another_seed_gives_another(recipe: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    run_loop(recipe.model_copy(update={"seed": 1}), tmp_path)
    assert steps(tmp_path)[0]["terms"] != steps(undisturbed)[0]["terms"]


class PowerCutError(Exception):
    """What a killed process looks like from inside: nothing after it runs."""


def cut_at(step: int, monkeypatch: pytest.MonkeyPatch, *, by: str) -> None:
    """Make a run end as its step `step` is told: by the stop file, or as if it were killed."""
    real = loop.EventLog.write

    def write(self: Any, kind: str, **values: Any) -> None:
        real(self, kind, **values)
        if kind == "step" and values["step"] == step:
            if by == "kill":
                raise PowerCutError
            os.close(os.open(monkeypatch_folder[0] / STOP_FILE, os.O_CREAT))

    monkeypatch.setattr(loop.EventLog, "write", write)


monkeypatch_folder: list[Path] = []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A run's folder, known to `cut_at`."""
    monkeypatch_folder[:] = [tmp_path]
    yield tmp_path
    monkeypatch_folder.clear()


@pytest.mark.parametrize("step", [1, 5, 8, 11])
def test_stopped_in_an_epoch_and_resumed_equals_the_undisturbed(
    recipe: Recipe, undisturbed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch:
        cut_at(step, patch, by="stop")
        assert run_loop(recipe, folder) == Outcome(step=step + 1, finished=False)  # the stop is seen at the next step
    (folder / STOP_FILE).unlink()
    assert run_loop(recipe, folder) == Outcome(step=12, finished=True)
    assert_same_weights(last_weights(folder), last_weights(undisturbed))
    assert [event["terms"] for event in steps(folder)] == [event["terms"] for event in steps(undisturbed)]
    assert messages(folder) == [
        f"asked to stop: step {step + 1} is the last",
        f"resumed from checkpoint_{step + 1:08d}: step {step + 1}, epoch {step // 6 + 1}",
    ]


@pytest.mark.parametrize(("step", "resumed"), [(5, 4), (9, 8)])
def test_killed_between_checkpoints_and_resumed_equals_the_undisturbed(
    recipe: Recipe, undisturbed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: int, resumed: int
) -> None:
    often = recipe.model_copy(update={"train": recipe.train.model_copy(update={"checkpoint_steps": 2})})
    with monkeypatch.context() as patch:
        cut_at(step, patch, by="kill")
        with pytest.raises(PowerCutError):
            run_loop(often, folder)
    assert run_loop(often, folder) == Outcome(step=12, finished=True)
    assert any(f"step {resumed}," in text for text in messages(folder))
    assert_same_weights(last_weights(folder), last_weights(undisturbed))


def test_killed_before_the_first_checkpoint_begins_again(recipe: Recipe, undisturbed: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        cut_at(3, patch, by="kill")
        with pytest.raises(PowerCutError):
            run_loop(recipe, folder)
    run_loop(recipe, folder)
    assert messages(folder) == ["no checkpoint was written before: training begins again"]
    assert_same_weights(last_weights(folder), last_weights(undisturbed))


def test_a_finished_run_that_is_resumed_ends_at_once(recipe: Recipe, undisturbed: Path) -> None:
    before = last_weights(undisturbed)
    assert run_loop(recipe, undisturbed) == Outcome(step=12, finished=True)
    assert_same_weights(last_weights(undisturbed), before)
    events = (undisturbed / EVENTS).read_text(encoding="utf-8").splitlines()
    (undisturbed / EVENTS).write_text("".join(line + "\n" for line in events[:-1]), encoding="utf-8")  # as the other tests found it


def test_a_damaged_newest_checkpoint_falls_back_and_says_so(recipe: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    run_loop(recipe, tmp_path)
    newest, first = checkpoints(tmp_path / CHECKPOINTS)
    (newest / WEIGHTS).write_bytes(b"")
    assert run_loop(recipe, tmp_path) == Outcome(step=12, finished=True)
    assert messages(tmp_path) == [f"checkpoint passed over: {newest.name}: {WEIGHTS} is damaged", f"resumed from {first.name}: step 6, epoch 2"]
    assert_same_weights(last_weights(tmp_path), last_weights(undisturbed))


def test_when_all_checkpoints_are_damaged_nothing_is_trained_over_them(recipe: Recipe, tmp_path: Path) -> None:
    run_loop(recipe, tmp_path)
    for path in checkpoints(tmp_path / CHECKPOINTS):
        (path / WEIGHTS).write_bytes(b"")
    outcome = run_loop(recipe, tmp_path)
    assert outcome.fault is not None
    assert "every checkpoint is damaged (checkpoint_00000012: weights.safetensors is damaged): start a new run" in outcome.fault


def test_a_full_disk_costs_a_checkpoint_not_the_run(recipe: Recipe, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = checkpoints_module.save_file, []

    def full_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(*arguments)

    monkeypatch.setattr(checkpoints_module, "save_file", full_once)
    assert run_loop(recipe, tmp_path) == Outcome(step=12, finished=True)
    assert messages(tmp_path) == ["checkpoint_00000006 could not be written (No space left on device): training goes on; make room before the next one"]
    assert_same_weights(last_weights(tmp_path), last_weights(undisturbed))


def test_another_number_of_workers_or_stage_is_refused(recipe: Recipe, undisturbed: Path, tmp_path: Path) -> None:
    run_loop(recipe, tmp_path)
    other = recipe.model_copy(update={"train": recipe.train.model_copy(update={"zero_stage": 1})})
    outcome = run_loop(other, tmp_path)
    assert outcome.fault is not None
    assert "written by 1 workers at ZeRO stage 0, this run has 1 at stage 1" in outcome.fault


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_every_zero_stage_takes_the_same_steps(undisturbed: Path, tiny_shards: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    recipe = tiny_recipe(tiny_shards, DROPOUT, f"train.zero_stage={stage}")
    with monkeypatch.context() as patch:
        cut_at(7, patch, by="stop")
        assert run_loop(recipe, folder) == Outcome(step=8, finished=False)
    (folder / STOP_FILE).unlink()
    assert run_loop(recipe, folder) == Outcome(step=12, finished=True)
    # Not the weights: biases before a batch norm have no gradient but rounding, which Adam makes as large as any.
    assert [event["terms"]["loss"] for event in steps(folder)] == pytest.approx([event["terms"]["loss"] for event in steps(undisturbed)], rel=1e-4)
    assert steps(folder)[0]["gradient_norm"] > 0


def test_bf16_trains_on_a_cpu_with_weights_in_fp32(tiny_shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    assert run_loop(tiny_recipe(tiny_shards, DROPOUT, "train.precision=bf16", "train.epochs=1"), tmp_path).finished
    assert {value.dtype for value in last_weights(tmp_path).values() if value.is_floating_point()} == {torch.float32}
    half, full = steps(tmp_path)[0]["terms"]["loss"], steps(undisturbed)[0]["terms"]["loss"]
    assert half != full
    assert half == pytest.approx(full, rel=0.05)


def test_accumulated_gradients_are_the_mean_of_the_batches(tiny_shards: Path, tmp_path: Path) -> None:
    """Against plain PyTorch; batch norm counts each batch by itself, so two batches of 4 are not one of 8."""
    still = ("network.attention_dropout=0", "network.head.dropout=0", "optim.name=sgd", "optim.momentum=0", "optim.weight_decay=0", "optim.schedule=constant")
    recipe = tiny_recipe(tiny_shards, *still, "optim.lr=0.1", "optim.accumulation=2", "train.epochs=1", "train.checkpoint_steps=1", "train.keep_checkpoints=9")
    assert run_loop(recipe, tmp_path).step == 3
    weights = last_weights_of_step(tmp_path, 1)

    torch.manual_seed(recipe.seed)
    network = SYSTEMS["mska_slr"].build(recipe.network, len(setting_of(recipe, tmp_path).task.classes)).train()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for batch in first_batches(recipe, tmp_path, 2):
        assert batch.targets is not None
        assert batch.target_lengths is not None
        terms = recognition_losses(network(batch), batch.targets, batch.target_lengths)
        (torch.stack(list(terms.values())).sum() / 2).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(weights[name], before[name] - 0.1 * parameter.grad, rtol=1e-4, atol=1e-5), name


def last_weights_of_step(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return checkpoints_module.read_weights(folder / CHECKPOINTS / checkpoints_module.checkpoint_name(step))


def first_batches(recipe: Recipe, folder: Path, count: int) -> list[Batch]:
    session = LocalSession(ShardSet.open(Path(recipe.data.shards)), train_split="train", dev_split="dev")
    training = loop.Training(recipe, setting_of(recipe, folder), session)
    training.close()
    batches: EpochBatches = training.batches
    epoch = batches.epoch(0)
    return [next(epoch) for _ in range(count)]


def test_weights_of_the_loss_terms_count(tiny_shards: Path, undisturbed: Path, tmp_path: Path) -> None:
    run_loop(tiny_recipe(tiny_shards, DROPOUT, "losses.weights={ctc_left: 0, ctc_body: 2.5}", "losses.distillation=false", "train.epochs=1"), tmp_path)
    terms, plain = steps(tmp_path)[0]["terms"], steps(undisturbed)[0]["terms"]
    assert terms.keys() == {"loss", "ctc_left", "ctc_right", "ctc_fuse", "ctc_body"}
    assert terms["ctc_left"] == plain["ctc_left"]
    assert terms["loss"] == pytest.approx(plain["ctc_right"] + plain["ctc_fuse"] + 2.5 * plain["ctc_body"], rel=1e-5)


def test_clipping_bounds_the_step(tiny_shards: Path, tmp_path: Path) -> None:
    run_loop(tiny_recipe(tiny_shards, "optim.clipping=0.5", "train.epochs=1"), tmp_path)
    assert all(event["gradient_norm"] > 0.5 for event in steps(tmp_path)[:1])


def test_a_loss_that_is_not_finite_names_the_recordings(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> dict[str, torch.Tensor]:
        terms = recognition_losses(*arguments, **options)
        return {**terms, "ctc_body": terms["ctc_body"] * float("inf")}

    monkeypatch.setattr(systems, "recognition_losses", broken)
    outcome = run_loop(tiny_recipe(tiny_shards), tmp_path)
    assert outcome.fault is not None
    assert outcome.fault.startswith("step 1: ctc_body not finite in the batch of synthetic_train_")
    assert outcome.fault.count("synthetic_train_") == 4
    assert outcome.fault.endswith("look at these clips, lower optim.lr or set optim.clipping")
    assert checkpoints(tmp_path / CHECKPOINTS) == []


def test_keypoints_that_are_not_finite_name_the_recording(tiny_shards: Path, tmp_path: Path) -> None:
    def alter(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "keypoints": [float("nan"), *row["keypoints"][1:]]} if row["name"].endswith("00007") else row

    outcome = run_loop(tiny_recipe(altered_shards(tiny_shards, tmp_path / "shards", alter)), tmp_path / "run")
    assert outcome.fault == "synthetic_train_00007: NaN or infinite keypoints: 1 values, the first in frame 0"
    assert not (tmp_path / "run" / FAULT_FILE).exists()  # no other rank has to be told


def test_shards_that_end_early_are_refused(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EpochBatches, "num_batches", 9)
    outcome = run_loop(tiny_recipe(tiny_shards), tmp_path)
    assert outcome.fault is not None
    assert "fewer training clips came than corpus.json counts" in outcome.fault


def test_too_few_clips_for_a_step_are_refused(tiny_shards: Path, tmp_path: Path) -> None:
    outcome = run_loop(tiny_recipe(tiny_shards, "train.batch_size=9", "optim.accumulation=3"), tmp_path)
    assert outcome.fault == "26 training clips per worker don't fill one step of 27: use fewer workers or a smaller train.batch_size"


def test_a_folder_that_a_worker_does_not_see_is_refused(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_shards)
    session = LocalSession(ShardSet.open(tiny_shards), train_split="train", dev_split="dev")
    outcome = run_training(recipe, setting_of(recipe, tmp_path / "elsewhere"), session)
    assert outcome.fault is not None
    assert outcome.fault.endswith("to storage that all nodes share")


def test_a_fault_that_another_worker_met_is_found_at_the_next_start(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, session = tiny_recipe(tiny_shards), LocalSession(ShardSet.open(tiny_shards), train_split="train", dev_split="dev")
    monkeypatch.setattr(session, "world_size", 2)

    def damaged(*_: int) -> Any:
        raise ShardError("part-00000.parquet: truncated")

    monkeypatch.setattr(session, "training_clips", damaged)
    with pytest.raises(ShardError):  # so that Ray Train restarts all workers
        run_training(recipe, setting_of(recipe, tmp_path), session)
    assert run_training(recipe, setting_of(recipe, tmp_path), session) == Outcome(step=0, finished=False, fault="part-00000.parquet: truncated")


def test_complaints_come_after_the_warm_up(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(network: Any, clips: list[Any], *_: Any, **__: Any) -> dict[str, dict[str, list[str]]]:
        return {clip.name: {"ensemble": [], "left": []} for clip in clips}

    monkeypatch.setattr(loop, "recognise", silent)
    run_loop(tiny_recipe(tiny_shards, "validation.warmup_epochs=1"), tmp_path)
    [text] = messages(tmp_path)
    assert text.startswith("epoch 2: no head recognised a gloss in any of 5 dev clips (synthetic_dev_00000, ")


def test_validation_every_other_epoch_and_at_the_end(tiny_shards: Path, tmp_path: Path) -> None:
    run_loop(tiny_recipe(tiny_shards, "train.epochs=3", "validation.every_epochs=2"), tmp_path)
    assert [event["epoch"] for event in read_events(tmp_path / EVENTS) if event["kind"] == "validation"] == [1, 2]


def test_five_clips_are_learnt_by_heart(tiny_shards: Path, tmp_path: Path) -> None:
    """The whole loop, without augmentation: a clip's glosses are found again in the clip."""
    still = ("inputs={shortest: 1, longest: 1, rotation_share: 0}", "network.attention_dropout=0", "network.head.dropout=0", "data.train_split=dev")
    schedule = ("optim.schedule=one_cycle", "optim.lr=1e-2", "optim.weight_decay=0", "train.epochs=150", "validation.every_epochs=150", "train.batch_size=5")
    assert run_loop(tiny_recipe(tiny_shards, *still, *schedule), tmp_path).finished
    [validation] = [event for event in read_events(tmp_path / EVENTS) if event["kind"] == "validation"]
    assert validation["scores"]["ensemble"] == 0, validation


def test_the_loop_can_run_beside_other_threads(tiny_shards: Path, tmp_path: Path) -> None:
    """A stop file that appears at any moment ends the run in order."""
    thread = threading.Thread(target=lambda: (time.sleep(0.3), (tmp_path / STOP_FILE).touch()))
    thread.start()
    outcome = run_loop(tiny_recipe(tiny_shards, "train.epochs=500", "validation.every_epochs=500"), tmp_path)
    thread.join()
    assert not outcome.finished
    assert read_position(checkpoints(tmp_path / CHECKPOINTS)[0]).step == outcome.step > 0
