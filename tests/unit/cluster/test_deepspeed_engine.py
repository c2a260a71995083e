"""Every ZeRO stage takes the steps that plain PyTorch takes, with accumulation and clipping, on two processes."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn

from cluster.deepspeed_engine import deepspeed_config

STEPS, WORLD, ACCUMULATION, MICRO_BATCH = 3, 2, 2, 4
CASES = [
    *[{"stage": stage, "clipping": clipping, "optimizer": "adam", "precision": "fp32"} for stage in range(4) for clipping in (0.0, 0.1)],
    {"stage": 0, "clipping": 0.1, "optimizer": "sgd", "precision": "fp32"},
    {"stage": 2, "clipping": 0.1, "optimizer": "sgd", "precision": "fp32"},
    {"stage": 0, "clipping": 0.1, "optimizer": "adam", "precision": "bf16-autocast"},
    {"stage": 1, "clipping": 0.1, "optimizer": "adam", "precision": "bf16-autocast"},
]


def build_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 3))


def build_optimizer(kind: str, model: nn.Module) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9, nesterov=True)
    return torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    count = WORLD * ACCUMULATION * MICRO_BATCH
    return torch.randn(count, 6, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def plain_steps(case: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[float]]:
    model = build_model()
    optimizer = build_optimizer(case["optimizer"], model)
    norms = []
    for step in range(STEPS):
        inputs, targets = batch(step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in case["precision"]):
            nn.functional.cross_entropy(model(inputs), targets).backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), case["clipping"] or float("inf"))))
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict(), norms


def engine_steps(case: dict[str, Any], rank: int) -> tuple[dict[str, torch.Tensor], list[float | None]]:
    from cluster.deepspeed_engine import full_state_dict, gradient_norm, initialize

    model = build_model()
    settings = {name: case[name] for name in ("stage", "clipping", "precision")}
    config = deepspeed_config(**settings, micro_batch_size=MICRO_BATCH, world_size=WORLD, accumulation=ACCUMULATION)
    engine = initialize(model, build_optimizer(case["optimizer"], model), config)
    norms = []
    for step in range(STEPS):
        inputs, targets = batch(step)
        for part in range(ACCUMULATION):
            own = slice((part * WORLD + rank) * MICRO_BATCH, (part * WORLD + rank + 1) * MICRO_BATCH)
            engine.backward(nn.functional.cross_entropy(engine(inputs[own]), targets[own]))
            engine.step()
        norms.append(gradient_norm(engine))
    return full_state_dict(engine), norms


def worker(rank: int, folder: str, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(WORLD), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=WORLD)
    for index, case in enumerate(CASES):
        state, norms = engine_steps(case, rank)
        torch.save(state, Path(folder, f"{index}-{rank}.pt"))
        Path(folder, f"{index}-{rank}.json").write_text(json.dumps(norms))
    Path(folder, f"loaded-{rank}.json").write_text(json.dumps("mlflow" in sys.modules))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def engine_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Final weights and gradient norms of all cases: one spawn, because the imports of two processes take most of the time."""
    from cluster.ray_cluster import free_port

    folder = tmp_path_factory.mktemp("deepspeed")
    mp.spawn(worker, (str(folder), free_port()), nprocs=WORLD)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("index", range(len(CASES)), ids=lambda index: "-".join(map(str, CASES[index].values())))
def test_steps_equal_plain_torch(engine_results: Path, index: int) -> None:
    """Slow: two processes import torch and deepspeed (shared by all cases)."""
    expected, expected_norms = plain_steps(CASES[index])
    tolerance = 2e-5 if CASES[index]["precision"] == "fp32" else 2e-2
    for rank in range(WORLD):
        state = torch.load(engine_results / f"{index}-{rank}.pt")
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            assert state[name].dtype == torch.float32
            torch.testing.assert_close(state[name], value, rtol=tolerance, atol=tolerance)
        norms = json.loads((engine_results / f"{index}-{rank}.json").read_text())
        if CASES[index]["stage"] == 0 and not CASES[index]["clipping"]:
            assert norms == [None] * STEPS
        else:
            assert norms == pytest.approx(expected_norms, rel=max(tolerance, 1e-4) * 2)


def test_clipping_is_always_written_down() -> None:
    config = deepspeed_config(stage=0, micro_batch_size=2, world_size=3, accumulation=4)
    assert config["gradient_clipping"] == 0.0
    assert config["train_batch_size"] == 24


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stage": 4}, "ZeRO stage 4"),
        ({"clipping": -1.0}, "clipping is -1.0"),
        ({"micro_batch_size": 0}, "micro_batch_size is 0"),
        ({"accumulation": 0}, "accumulation is 0"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deepspeed_config(**{"stage": 0, "micro_batch_size": 1, "world_size": 1, **settings})


def test_deepspeed_loads_nothing_for_its_tuner(engine_results: Path) -> None:
    assert [json.loads((engine_results / f"loaded-{rank}.json").read_text()) for rank in range(WORLD)] == [False] * WORLD
