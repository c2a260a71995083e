"""Schedules against torch's own, optimisers against their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workloads.recipe import OptimOptions
from workloads.training.optim import learning_rate, make_optimizer, set_learning_rate


@pytest.mark.parametrize(("epochs", "period"), [(5, None), (5, 5), (4, 10)])
def test_cosine_is_torchs_stepped_before_each_epoch(epochs: int, period: int | None) -> None:
    options = OptimOptions(lr=0.3, schedule="cosine", cosine_epochs=period)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=period or epochs)
    for epoch in range(epochs):
        optimizer.step()
        scheduler.step()
        for step in range(3):
            assert learning_rate(options, step=3 * epoch + step, steps_per_epoch=3, epochs=epochs) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)


def test_the_last_epoch_of_the_cosine_is_at_rate_0() -> None:
    assert learning_rate(OptimOptions(lr=1.0, schedule="cosine"), step=99, steps_per_epoch=10, epochs=10) == pytest.approx(0, abs=1e-12)


def test_one_cycle_rises_and_ends_near_0() -> None:
    options = OptimOptions(lr=2.0, schedule="one_cycle", warmup=0.25)
    rates = [learning_rate(options, step=step, steps_per_epoch=4, epochs=10) for step in range(40)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == pytest.approx(2.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize("warmup", [0.0, 0.99])
def test_one_cycle_at_its_limits(warmup: float) -> None:
    options = OptimOptions(lr=1.0, schedule="one_cycle", warmup=warmup)
    rates = [learning_rate(options, step=step, steps_per_epoch=1, epochs=3) for step in range(3)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) == 1


def test_constant() -> None:
    options = OptimOptions(lr=0.1, schedule="constant")
    assert {learning_rate(options, step=step, steps_per_epoch=2, epochs=3) for step in range(6)} == {0.1}


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_optimisers_take_their_options(name: str, kind: type[torch.optim.Optimizer]) -> None:
    options = OptimOptions.model_validate({"name": name, "lr": 0.5, "weight_decay": 0.25, "betas": (0.8, 0.9), "eps": 1e-6, "momentum": 0.7})
    optimizer = make_optimizer(options, nn.Linear(2, 2))
    assert type(optimizer) is kind
    [group] = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    assert group["momentum"] == 0.7 if name == "sgd" else (group["betas"], group["eps"]) == ((0.8, 0.9), 1e-6)
    set_learning_rate(optimizer, 0.125)
    assert group["lr"] == 0.125
