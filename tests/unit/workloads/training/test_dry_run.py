"""What a recipe needs before it runs: measured on a tiny network, printed, refused where it can't fit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from models.errors import TrainingError
from tests.unit.workloads.tiny_runs import tiny_recipe, tiny_sign_recipe, tiny_translating_recipe
from workloads.recipe import Recipe
from workloads.shards import ShardSet
from workloads.train import main
from workloads.training import dry_run as module
from workloads.training import probe as probe_module
from workloads.training.dry_run import GIB, crowding, dry_run, expected_seconds, gib, room_of, store_bytes
from workloads.training.folders import make_folder
from workloads.training.preflight import task_of
from workloads.training.probe import Probe, Speed


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "PROBE_S", 0.05)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def probe_of(recipe: Recipe) -> Probe:
    shards = ShardSet.open(Path(recipe.data.shards))
    return Probe(recipe, shards, task_of(recipe, shards), "cpu")


def test_it_prints_what_a_run_needs_and_leaves_nothing(tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(tiny_recipe(tiny_shards, f"run.root={tmp_path}"))
    told = capsys.readouterr().out
    assert [line.split("  ")[0] for line in told.splitlines() if line[0] != " "] == [
        "parameters",
        "steps",
        "per worker",
        "checkpoints",
        "object store none: this process trains, without Ray",
        "time",
    ]
    assert "12 of 4 clips in 2 epochs of 26 clips" in told
    assert "(ZeRO stage 0, 1 worker, fp32)" in told
    assert list(tmp_path.iterdir()) == []


def test_memory_of_other_machines_is_said_to_be_unknown(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    recipe = tiny_recipe(tiny_shards, f"run.root={tmp_path}", "train.num_workers=2")
    dry_run(recipe)
    reason = "RAY_ADDRESS: workers run on other machines"
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"not judged   whether a worker's memory suffices ({reason}): give --worker-memory GIB, what a worker there may use"
    )
    dry_run(recipe, worker_gib=64)
    assert "not judged" not in capsys.readouterr().out


def test_frozen_parts_need_no_gradients(tiny_shards: Path, tiny_language: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a translator, whose sizes are those of the language model that it starts from."""
    changes = ("train.gpus_per_worker=0", "train.precision=fp32", f"run.root={tmp_path}")
    whole, frozen = (
        probe_of(tiny_translating_recipe(tiny_shards, tiny_language, *changes, f"optim.frozen={parts}", recipe="mska_slt_phoenix2014t")).measure()
        for parts in ("[]", "[recogniser]")
    )
    assert frozen.parameters == whole.parameters == whole.trainable
    assert frozen.trainable < 0.6 * whole.trainable
    assert frozen.activations_per_clip < 0.5 * whole.activations_per_clip
    dry_run(tiny_translating_recipe(tiny_shards, tiny_language, *changes, recipe="g2t_phoenix2014t"))
    assert "parameters" in capsys.readouterr().out


def test_each_member_of_an_ensemble_is_looked_at(tiny_sign_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(tiny_sign_recipe(tiny_sign_shards, f"run.root={tmp_path}", "train.precision=bf16"))
    told = capsys.readouterr().out
    assert [line for line in told.splitlines() if line.startswith("member")] == ["member joint", "member bone"]
    assert told.count("per worker") == 2


def test_what_cannot_fit_is_refused_with_what_does(tiny_shards: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tiny_shards, f"run.root={tmp_path}", "train.batch_size=8")
    measured, plan = probe_of(recipe).measure(), module.plan_of(recipe, ShardSet.open(tiny_shards))
    limit = (module.needed(measured, plan) - measured.activations_per_clip) / GIB
    with pytest.raises(TrainingError, match=r"can't fit: a worker needs .* GiB .*\(--worker-memory\); the nearest that fits: --set train.batch_size=[67]"):
        dry_run(recipe, worker_gib=limit)
    with pytest.raises(TrainingError, match="no batch size, ZeRO stage or number of workers makes it fit: take a smaller network"):
        dry_run(recipe, worker_gib=0.1)


def test_full_disks_and_empty_steps_are_refused(tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match="don't fill one step"):
        dry_run(tiny_recipe(tiny_shards, "train.batch_size=20", "optim.accumulation=2"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(TrainingError, match=r"checkpoints need .* below .* are free; make room, or set run.root or train.keep_checkpoints=2"):
        dry_run(tiny_recipe(tiny_shards, f"run.root={tmp_path}", "train.keep_checkpoints=9"))


def test_activations_grow_with_the_batch(tiny_shards: Path) -> None:
    """What two clips save is a sound measure for eight: the same per clip within a few percent."""
    probe = probe_of(tiny_recipe(tiny_shards))
    measured = probe.measure()
    clip = probe._clips([probe.index[-1]])[0]
    eight = probe._saved(probe._batch([clip] * 8, [probe._longest_length(clip)] * 8)).peak
    assert measured.activations_fixed + 8 * measured.activations_per_clip == pytest.approx(eight, rel=0.05)


def test_the_room_of_a_worker(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, on_gpu = tiny_recipe(tiny_shards, "train.num_workers=2"), tiny_recipe(tiny_shards, "train.gpus_per_worker=1")
    monkeypatch.setattr(module, "available_bytes", lambda: 8 * GIB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert room_of(recipe, None).memory == 4 * GIB
    assert room_of(recipe, 1.5).memory == 1.5 * GIB
    assert (room_of(on_gpu, None).memory, room_of(on_gpu, None).source) == (None, "no GPU on this machine")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert room_of(recipe, None).memory is None
    assert crowding(recipe) == 1.0


def test_hours_count_steps_validations_and_crowded_cores(tiny_shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = ShardSet.open(tiny_shards)
    speed = Speed(own_share=1.0, step_s=2.0, evaluation_clip_s=0.5)
    alone, four = tiny_recipe(tiny_shards), tiny_recipe(tiny_shards, "train.num_workers=4")
    assert expected_seconds(alone, shards, speed, 12) == 12 * 2.0 + 2 * 5 * 0.5
    monkeypatch.setattr(module, "num_cores", lambda: 2)
    assert expected_seconds(four, shards, speed, 12) == 2 * (12 * 2.0 + 2 * 5 / 4 * 0.5) + module.RAY_START_S


def test_the_object_store_is_never_below_rays_smallest(tiny_shards: Path) -> None:
    assert store_bytes(tiny_recipe(tiny_shards, "train.num_workers=2"), ShardSet.open(tiny_shards)) == 75 << 20


def test_the_command_line_looks_at_new_and_old_runs(tiny_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, folder = make_folder(tiny_recipe(tiny_shards, f"run.root={tmp_path}", "run.name=old"))
    assert main(["--resume", str(folder), "--dry-run", "--worker-memory", "8"]) == 0
    assert re.search(r"^per worker .* 8.00 GiB there \(--worker-memory\)$", capsys.readouterr().out, re.MULTILINE)
    assert recipe.run.name == "old"


def test_sizes_for_people() -> None:
    assert (gib(3 * GIB), gib(20 << 20)) == ("3.00 GiB", "20 MiB")
