"""DeepSpeed presets and start: the same engine on a laptop's CPU and on GPUs, ZeRO stages 0-3.

Settings were chosen by measurement for models of many small parameters (1,200 tensors, 2 M values), where the engine's Python loops
over the tensors weigh more than their arithmetic.
"""

import argparse
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
import torch.distributed as dist

UNIVERSAL_TAG = "universal"
Precision = Literal["fp32", "bf16", "fp16", "bf16-autocast", "fp16-autocast"]


def deepspeed_config(
    *,
    stage: int,
    micro_batch_size: int,
    world_size: int,
    accumulation: int = 1,
    clipping: float = 0.0,
    precision: Precision = "fp32",
    universal: bool = False,
) -> dict[str, Any]:
    """DeepSpeed's configuration for an optimizer that is handed in.

    `clipping` is the largest global gradient norm, 0 for none; it is always written down, because DeepSpeed's own default clips at
    1.0. `bf16` and `fp16` keep the weights in half precision and need a network without BatchNorm on a CPU (its running
    statistics stay fp32); the `-autocast` forms keep weights in fp32 and fit every network. `universal`: it will load what
    `write_universal` wrote. Raises ValueError.
    """
    _check(stage=stage, micro_batch_size=micro_batch_size, world_size=world_size, accumulation=accumulation, clipping=clipping)
    return {
        "train_batch_size": micro_batch_size * world_size * accumulation,
        "train_micro_batch_size_per_gpu": micro_batch_size,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clipping,
        "zero_optimization": _zero(stage),
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
        **_precision(precision),
        **({"checkpoint": {"load_universal": True}} if universal else {}),
    }


def initialize(model: torch.nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any]) -> Any:
    """The DeepSpeed engine of a model and a torch optimizer; the process group must exist.

    No op is compiled: not the shared-memory collective of DeepSpeed on CPUs (25 s, a C++ compiler), nor its optimizers (a torch
    optimizer with `fused=True` is as fast). The learning rate is the caller's to schedule, through `optimizer`.
    """
    deepspeed = import_deepspeed()
    _size_buckets(model, config["zero_optimization"])
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    if config["zero_optimization"]["stage"] == 0 and not config.keys() & {"bf16", "fp16"}:
        _lighten_stage_0(engine, optimizer, config["gradient_clipping"])
    return engine


def _size_buckets(model: torch.nn.Module, zero: dict[str, Any]) -> None:
    """Buckets for gradients no larger than all of them: DeepSpeed's own take 2 GB each, on the device, for a network of any size."""
    if zero["stage"]:
        zero.setdefault("reduce_bucket_size", min(500_000_000, sum(parameter.numel() for parameter in model.parameters())))


def import_deepspeed() -> Any:
    """The deepspeed module, quiet and without compiled CPU ops."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # otherwise it searches, and warns
    with _hidden("mlflow"):  # its tuner, which nobody uses here, would import it: two seconds of each worker's start
        import deepspeed

    deepspeed.utils.logger.setLevel(logging.ERROR)
    if "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """A module that this thread can't import for the time of the block; where it is loaded already, or to other threads, it is there."""
    finder = _Hiding(name, threading.get_ident())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Hiding(MetaPathFinder):
    def __init__(self, name: str, thread: int) -> None:
        self._name, self._thread = name, thread

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname == self._name and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} is left out here", name=fullname)


def full_state_dict(engine: Any) -> dict[str, torch.Tensor]:
    """The model's parameters (fp32 master weights) and buffers by name, whole, on the CPU, on every rank.

    Every rank must call it: stages 1-3 gather. The tensors are copies.
    """
    state = dict(engine.module.state_dict())
    state |= {name: _whole(parameter) for name, parameter in engine.module.named_parameters(remove_duplicate=False)}
    return {name: value.to("cpu", copy=True) for name, value in state.items()}


def write_universal(source: Path, out: Path) -> None:
    """Put the engine's files of all ranks (stages 1-3) together in DeepSpeed's universal form, which any number of ranks reads: `out` / UNIVERSAL_TAG.

    One process does it, on the CPU. Raises what DeepSpeed raises.
    """
    import_deepspeed()
    from deepspeed.checkpoint import ds_to_universal

    target = out / UNIVERSAL_TAG
    settings = {"num_extract_workers": 1, "num_merge_workers": 1, "keep_temp_folder": False, "strict": True, "inject_missing_state": True}
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # it tells of every step
        ds_to_universal.main(argparse.Namespace(input_folder=str(source), output_folder=str(target), **settings))


def fill_unlearned(engine: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Buffers and frozen parameters by name from a whole state dict: the universal form leaves them out. Every rank must call it."""
    from deepspeed.runtime.zero import GatheredParameters

    with torch.no_grad():
        for name, buffer in engine.module.named_buffers():
            if name in state:  # those that aren't persistent are in none
                buffer.copy_(state[name])
        for name, parameter in engine.module.named_parameters():
            if parameter.requires_grad:
                continue
            with GatheredParameters([parameter], modifier_rank=0) if hasattr(parameter, "ds_id") else nullcontext():
                if parameter.numel() == state[name].numel():
                    parameter.copy_(state[name])


def gradient_norm(engine: Any) -> float | None:
    """Global norm of the last step's gradients before clipping; None where the engine doesn't compute it (stage 0 without clipping)."""
    norm = engine.get_global_grad_norm()
    return None if norm is None or (engine.zero_optimization_stage() == 0 and not engine.gradient_clipping()) else float(norm)


@contextmanager
def single_process_group() -> Iterator[None]:
    """A process group of this process alone, for training in process (Ray Train with `num_workers=0` makes none)."""
    if dist.is_initialized():
        yield
        return
    # DeepSpeed wants all five; nothing listens at the port, which another process could have taken meanwhile.
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())  # type: ignore[attr-defined]  # of the C++ half
    try:
        yield
    finally:
        _end_process_group()


def _end_process_group() -> None:
    """Through DeepSpeed where it has seen the group: it keeps handles of its own, with which the next engine of this process would fail."""
    if "deepspeed" in sys.modules and sys.modules["deepspeed"].comm.is_initialized():
        sys.modules["deepspeed"].comm.destroy_process_group()
    else:
        dist.destroy_process_group()


def _whole(parameter: torch.nn.Parameter) -> torch.Tensor:
    """A parameter in fp32, gathered from the ranks where they share it (each does so for every parameter, in the same order)."""
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    partitioned = hasattr(parameter, "ds_id")
    if partitioned and not parameter.requires_grad:
        with GatheredParameters([parameter]):
            return parameter.detach().float().clone()
    has_master = getattr(parameter, "_hp_mapping", None) is not None and parameter.dtype != torch.float32
    if partitioned or has_master:
        whole: torch.Tensor = safe_get_full_fp32_param(parameter)
        return whole.detach()
    return parameter.detach().float()


def _zero(stage: int) -> dict[str, Any]:
    options: dict[str, Any] = {"stage": stage}
    if stage in (1, 2) and not torch.cuda.is_available():
        # Without streams there is nothing to overlap with, and the contiguous copy of the gradients only costs (1,200 tensors, one
        # process: 59 ms a step more than plain PyTorch with DeepSpeed's defaults, 27 ms without these two).
        options |= {"overlap_comm": False, "contiguous_gradients": False}
    if stage == 3:
        options |= {"stage3_gather_16bit_weights_on_model_save": True}
    return options


def _precision(precision: Precision) -> dict[str, Any]:
    match precision:
        case "fp32":
            return {}
        case "bf16":
            return {"bf16": {"enabled": True}}
        case "fp16":
            return {"fp16": {"enabled": True, "initial_scale_power": 16, "loss_scale_window": 1000, "min_loss_scale": 1}}
        case "bf16-autocast":
            return {"torch_autocast": {"enabled": True, "dtype": "bfloat16"}}
        case "fp16-autocast":
            return {"torch_autocast": {"enabled": True, "dtype": "float16"}}


def _lighten_stage_0(engine: Any, optimizer: torch.optim.Optimizer, clipping: float) -> None:
    """Replace three loops over all parameters that DeepSpeed runs in Python each step by torch's own, with the same results.

    With one process there is nothing to reduce either. Together they took 12 ms (17 ms with clipping) of a step of 1,200 tensors;
    without them it takes as long as plain PyTorch.
    """
    parameters = [parameter for parameter in engine.module.parameters() if parameter.requires_grad]

    def clip() -> None:
        engine._global_grad_norm = torch.nn.utils.clip_grad_norm_(parameters, clipping)

    engine.clip_fp32_gradients = clip  # DeepSpeed's own leaves the norm at None
    engine.zero_grad = lambda: optimizer.zero_grad(set_to_none=True)
    if dist.get_world_size() == 1:
        engine.enable_backward_allreduce = False


def _check(*, clipping: float, **counts: int) -> None:
    stage = counts.pop("stage")
    if stage not in (0, 1, 2, 3):
        raise ValueError(f"ZeRO stage {stage} doesn't exist; use 0, 1, 2 or 3.")
    if clipping < 0:
        raise ValueError(f"clipping is {clipping}; use the largest gradient norm, or 0 for none.")
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; use 1 or more.")
