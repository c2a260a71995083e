"""What a worker of a training holds in memory, by what is known before it runs: pure arithmetic on measured pieces.

DeepSpeed's part was read off the tensors that its engine holds (tests/unit/workloads/training/test_footprint.py), for fp32 weights. Stage 0
keeps what PyTorch keeps, and a flat copy of all gradients while several workers reduce them. Stages 1 and 2 add a master copy of this
worker's share, and on a GPU a bucket for gradients (two, so that one fills while the other travels). Stage 3 shares the weights, too, but
gathers them for the pass and, below a thousand million values (`stage3_max_live_parameters`), lets go of none: it saves what the optimiser
holds, not what the network does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

FP32 = 4  # bytes
PROCESS = 800 << 20  # of torch, DeepSpeed, Ray and MLflow, and of what the allocator keeps: of a peak of 1,164 MiB (demo, in process) all but the tensors
MAX_WORKERS = 64  # of a suggestion


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one system at one recipe's options measures. Bytes; activations are the most that is kept for the backward at the longest clip.

    parameters, trainable: counts of values. buffers: bytes. activations_fixed: what doesn't grow with the batch (half-precision copies of the weights).
    largest: the largest single activation of a clip; the backward pass holds gradients of about two of them. clip_bytes: an average clip in memory.
    """

    parameters: int
    trainable: int
    buffers: int
    activations_fixed: int
    activations_per_clip: int
    largest_per_clip: int
    batch_bytes_per_clip: int
    clip_bytes: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What of a recipe decides the memory. clips: of the training split; moments: values that the optimiser keeps per parameter.
    on_gpu: the network is on a GPU, whose memory is what counts."""

    num_workers: int
    zero_stage: int
    batch_size: int
    accumulation: int
    shuffle_pool: int
    clips: int
    moments: int
    on_gpu: bool = False

    @property
    def world(self) -> int:
        return max(1, self.num_workers)


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one worker, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    batch: int
    pool: int
    process: int = PROCESS

    @property
    def total(self) -> int:
        return sum(vars(self).values())

    @property
    def device(self) -> int:
        """What lies on the worker's device where that is a GPU: all but the clips that wait and the process."""
        return self.total - self.pool - self.process


def footprint(measured: Measured, plan: Plan) -> Footprint:
    """Memory of one worker."""
    whole, trained = measured.parameters * FP32, measured.trainable * FP32
    stage, world = plan.zero_stage, plan.world
    share = math.ceil(trained / world)
    others = share if world > 1 else 0  # a copy beside the whole, where the whole isn't this worker's share
    buckets = 2 * trained if plan.on_gpu else 0
    gradients = {0: trained + (trained if world > 1 else 0), 1: trained + others + buckets, 2: trained + others + buckets, 3: share + trained}[stage]
    return Footprint(
        weights=whole + measured.buffers + (share if stage else 0) + (others if stage == 3 else 0),
        gradients=gradients,
        optimizer=plan.moments * (share if stage else trained),
        activations=measured.activations_fixed + plan.batch_size * (measured.activations_per_clip + 2 * measured.largest_per_clip),
        batch=3 * plan.batch_size * measured.batch_bytes_per_clip,  # the one in work, the one being put together, and its clips
        pool=min(plan.shuffle_pool, plan.clips // world) * measured.clip_bytes,
    )


def checkpoint_bytes(measured: Measured, plan: Plan) -> int:
    """Size of one checkpoint on disk: our weights, DeepSpeed's own copy, the optimiser's state and its master copy."""
    whole, trained = measured.parameters * FP32 + measured.buffers, measured.trainable * FP32
    return 2 * whole + (plan.moments + (1 if plan.zero_stage else 0)) * trained


def nearest_fit(measured: Measured, plan: Plan, limit: int) -> Plan | None:
    """The plan nearest to `plan` whose worker fits into `limit` bytes, or None.

    In this order: a ZeRO stage, which changes nothing that is learned; a smaller batch with as much more accumulation; both; a smaller pool of
    shuffled clips (not on a GPU, which doesn't hold it); more workers of fewer clips.
    """
    for candidate in _candidates(plan):
        if needed(measured, candidate) <= limit:
            return candidate
    return None


def needed(measured: Measured, plan: Plan) -> int:
    """Bytes that count against the limit: of a GPU's memory, or of the host's."""
    memory = footprint(measured, plan)
    return memory.device if plan.on_gpu else memory.total


def _candidates(plan: Plan) -> Iterator[Plan]:
    smaller = [replace(plan, batch_size=size, accumulation=_accumulation(plan, size)) for size in range(plan.batch_size, 0, -1)]
    stages = range(plan.zero_stage, 4) if plan.num_workers > 1 else (plan.zero_stage,)
    staged = [replace(each, zero_stage=stage) for each in smaller for stage in stages]
    yield from (replace(plan, zero_stage=stage) for stage in stages)
    yield from smaller
    yield from staged
    if not plan.on_gpu:
        pools = [max(plan.batch_size, plan.shuffle_pool >> halvings) for halvings in range(1, 14)]
        yield from (replace(plan, shuffle_pool=pool) for pool in pools)
        yield from (replace(each, shuffle_pool=max(each.batch_size, 64)) for each in staged)
    workers = max(1, plan.num_workers)
    while workers * 2 <= MAX_WORKERS:
        workers *= 2
        yield from (replace(each, num_workers=workers, zero_stage=stage) for each in smaller for stage in (plan.zero_stage, 2))
    if not plan.on_gpu:  # the smallest that there is
        yield from (replace(each, num_workers=MAX_WORKERS, zero_stage=2, shuffle_pool=each.batch_size) for each in smaller)


def _accumulation(plan: Plan, batch_size: int) -> int:
    """Batches per step that make it of about as many clips as before."""
    return max(1, round(plan.batch_size * plan.accumulation / batch_size))


def settings(old: Plan, new: Plan) -> str:
    """What leads from one plan to another, as `--set` options."""
    keys = {
        "num_workers": "train.num_workers",
        "zero_stage": "train.zero_stage",
        "batch_size": "train.batch_size",
        "accumulation": "optim.accumulation",
        "shuffle_pool": "data.shuffle_pool",
    }
    return " ".join(f"--set {key}={getattr(new, name)}" for name, key in keys.items() if getattr(new, name) != getattr(old, name))
