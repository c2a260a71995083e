"""Memory of a worker, against the tensors that DeepSpeed's engine really holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.deepspeed_engine import deepspeed_config, initialize, single_process_group
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


@pytest.fixture
def only_what_comes() -> Iterator[None]:
    """What other tests left is out of the collector's sight, which a whole run's million objects keep for seconds otherwise."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _live_bytes() -> int:
    gc.collect()
    tensors = [entry for entry in gc.get_objects() if issubclass(type(entry), torch.Tensor)]  # isinstance follows weak proxies, dead ones too
    tensors += [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_weights_gradients_and_optimizer_are_what_the_engine_holds(stage: int, only_what_comes: None) -> None:
    """After a backward pass that isn't the first, when the optimiser has its state and the gradients are there (stage 2 lets go of some)."""
    with single_process_group():
        before = _live_bytes()
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(400, 1000), torch.nn.Linear(1000, 200))
        values = sum(parameter.numel() for parameter in network.parameters())
        engine = initialize(network, torch.optim.Adam(network.parameters(), fused=True), deepspeed_config(stage=stage, micro_batch_size=1, world_size=1))
        for _ in range(2):
            engine.backward(engine(torch.ones(1, 400)).sum())
            held = _live_bytes() - before
            engine.step()
    plan = replace(PLAN, num_workers=1, zero_stage=stage)
    memory = footprint(replace(MEASURED, parameters=values, trainable=values, buffers=0), plan)
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
