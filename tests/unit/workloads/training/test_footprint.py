"""Memory of a worker, against the tensors that DeepSpeed's engine really holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.environment import REPOSITORY_ROOT
from workloads.training.footprint import FP32, Measured, Plan, checkpoint_bytes, footprint, nearest_fit, needed, settings

MIB = 1 << 20
MEASURED = Measured(
    parameters=10 * MIB,
    trainable=8 * MIB,
    buffers=MIB,
    activations_fixed=5 * MIB,
    activations_per_clip=100 * MIB,
    largest_per_clip=10 * MIB,
    batch_bytes_per_clip=MIB,
    clip_bytes=MIB // 4,
)
PLAN = Plan(num_workers=2, zero_stage=0, batch_size=8, accumulation=1, shuffle_pool=4096, clips=1000, moments=2)


@pytest.fixture(scope="module")
def held_by_stage() -> list[list[int]]:
    """Values that are trained, and bytes, by stage. In processes of their own: what other tests leave would count, too."""
    command = [sys.executable, "-m", "tests.unit.workloads.training.held_bytes"]
    told = subprocess.run(command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in re.findall(r"^\[\d+, \d+\]$", told, re.MULTILINE)]  # beside what DeepSpeed says


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_weights_gradients_and_optimizer_are_what_the_engine_holds(stage: int, held_by_stage: list[list[int]]) -> None:
    """Stage 2 lets go of some gradients."""
    values, held = held_by_stage[stage]
    memory = footprint(replace(MEASURED, parameters=values, trainable=values, buffers=0), replace(PLAN, num_workers=1, zero_stage=stage))
    expected = memory.weights + memory.gradients + memory.optimizer
    assert (0.75 if stage == 2 else 0.85) * expected <= held <= 1.02 * expected, (held / values / FP32, expected / values / FP32)


def test_what_a_worker_holds_by_stage() -> None:
    weights, trained = MEASURED.parameters * FP32, MEASURED.trainable * FP32
    memory = footprint(MEASURED, PLAN)
    assert (memory.weights, memory.gradients, memory.optimizer) == (weights + MIB, 2 * trained, 2 * trained)
    assert memory.activations == MIB * (5 + 8 * 120)
    assert (memory.batch, memory.pool) == (3 * 8 * MIB, 500 * MIB // 4)
    assert memory.total == sum(vars(memory).values())
    assert memory.device == memory.total - memory.pool - memory.process
    assert footprint(MEASURED, replace(PLAN, zero_stage=1)).optimizer == trained
    on_gpu = footprint(MEASURED, replace(PLAN, zero_stage=1, on_gpu=True))
    assert on_gpu.gradients == footprint(MEASURED, replace(PLAN, zero_stage=1)).gradients + 2 * trained


def test_a_checkpoint_holds_the_weights_twice_and_what_the_optimizer_keeps() -> None:
    assert checkpoint_bytes(MEASURED, PLAN) == 2 * (10 * FP32 + 1) * MIB + 2 * 8 * FP32 * MIB
    assert checkpoint_bytes(MEASURED, replace(PLAN, zero_stage=2)) == checkpoint_bytes(MEASURED, PLAN) + 8 * FP32 * MIB


@hypothesis.settings(deadline=None)
@hypothesis.example(1, 0, 0, 1004, False)  # fits by less than a pool's share of memory
@hypothesis.example(1, 0, 3, 1004, False)
@given(st.integers(1, 64), st.integers(0, 3), st.integers(0, 8), st.integers(200, 40_000), st.booleans())
def test_the_suggestion_fits_and_keeps_the_clips_of_a_step(batch: int, stage: int, workers: int, limit_mib: int, on_gpu: bool) -> None:
    plan = replace(PLAN, batch_size=batch, zero_stage=stage, num_workers=workers, on_gpu=on_gpu)
    near = nearest_fit(MEASURED, plan, limit_mib * MIB)
    if near is None:
        smallest = replace(plan, batch_size=1, shuffle_pool=1, num_workers=64, zero_stage=2)
        assert needed(MEASURED, smallest) > limit_mib * MIB or on_gpu
        return
    assert needed(MEASURED, near) <= limit_mib * MIB
    assert abs(near.batch_size * near.accumulation - batch) <= near.batch_size
    if needed(MEASURED, plan) <= limit_mib * MIB:
        assert settings(plan, near) == ""


def test_a_stage_comes_before_a_smaller_batch() -> None:
    """The stage changes nothing that is learned."""
    many = replace(MEASURED, parameters=500 * MIB, trainable=500 * MIB)
    plan = replace(PLAN, num_workers=8)
    near = nearest_fit(many, plan, needed(many, plan) - 1)
    assert near is not None
    assert settings(plan, near) == "--set train.zero_stage=1"
    near = nearest_fit(MEASURED, replace(PLAN, num_workers=1), needed(MEASURED, replace(PLAN, batch_size=4)))
    assert near is not None
    assert settings(replace(PLAN, num_workers=1), near) == "--set train.batch_size=3 --set optim.accumulation=3"
