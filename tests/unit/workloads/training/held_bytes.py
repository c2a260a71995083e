"""What DeepSpeed's engine holds at each stage of ZeRO, counted in processes in which nothing else is: `python -m tests.unit.workloads.training.held_bytes`."""

from __future__ import annotations

import gc
import json
import os

import torch

from cluster.deepspeed_engine import deepspeed_config, initialize, single_process_group
from cluster.environment import quiet_logging, set_defaults


def live_bytes() -> int:
    gc.collect()
    tensors = [entry for entry in gc.get_objects() if issubclass(type(entry), torch.Tensor)]  # isinstance follows weak proxies, dead ones too
    tensors += [tensor.grad for tensor in tensors if tensor.is_leaf and tensor.grad is not None]
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())


def held(stage: int) -> tuple[int, int]:
    """Trained values, and bytes after a backward pass that isn't the first, when the optimiser has its state and the gradients are there."""
    before = live_bytes()
    network = torch.nn.Sequential(torch.nn.Linear(400, 1000), torch.nn.Linear(1000, 200))
    values = sum(parameter.numel() for parameter in network.parameters())
    engine = initialize(network, torch.optim.Adam(network.parameters(), fused=True), deepspeed_config(stage=stage, micro_batch_size=1, world_size=1))
    found = 0
    for _ in range(2):
        engine.backward(engine(torch.ones(1, 400)).sum())
        found = live_bytes() - before
        engine.step()
    return values, found


def main() -> None:
    """A line of JSON, values and bytes, for each stage; each in a child of this process, which has loaded torch and begun nothing."""
    set_defaults()
    for stage in range(4):
        child = os.fork()
        if not child:
            quiet_logging()
            with single_process_group():
                print(json.dumps(held(stage)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
