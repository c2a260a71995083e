"""Optimiser and learning rate of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from models.errors import RecipeError
from workloads.recipe import OptimOptions


def make_optimizer(options: OptimOptions, network: nn.Module) -> torch.optim.Optimizer:
    """The optimiser over all parameters that learn, a group for each rate; weight decay counts on every parameter, as published.

    A group's `share` is its rate over the recipe's. Raises RecipeError for a part that the network doesn't have.
    """
    parameters = _groups(options, network)
    match options.name:
        case "adam":
            return torch.optim.Adam(parameters, lr=options.lr, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=options.lr, betas=options.betas, eps=options.eps, weight_decay=options.weight_decay, fused=True)
        case "sgd":
            return torch.optim.SGD(
                parameters, lr=options.lr, momentum=options.momentum, nesterov=options.nesterov, weight_decay=options.weight_decay, fused=True
            )


def learning_rate(options: OptimOptions, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Learning rate of optimiser step `step` (from 0).

    cosine: constant within an epoch and stepped before it, so epoch e runs at lr·(1 + cos(π(e+1)/T))/2 and the last one at 0 (mska.md,
    section 7). one_cycle: rises linearly over the share `warmup` of all steps, then falls along a cosine to 0.
    steps: constant within an epoch; rises linearly over `warmup_epochs`, then falls by `decay` at each of `milestones` (dsta_slr.md, section 5).
    """
    if options.schedule == "constant":
        return options.lr
    if options.schedule == "cosine":
        period = options.cosine_epochs or epochs
        return options.lr * (1 + math.cos(math.pi * (step // steps_per_epoch + 1) / period)) / 2
    if options.schedule == "steps":
        epoch = step // steps_per_epoch
        if epoch < options.warmup_epochs:
            return options.lr * (epoch + 1) / options.warmup_epochs
        return options.lr * options.decay ** sum(epoch >= milestone for milestone in options.milestones)
    total = steps_per_epoch * epochs
    rising = max(1, round(options.warmup * total))
    if step < rising:
        return options.lr * (step + 1) / rising
    return options.lr * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising))) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate for every group, by its share."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)


def freeze(network: nn.Module, parts: Sequence[str]) -> None:
    """Parameters of frozen parts don't learn. Raises RecipeError for a part that the network doesn't have."""
    for part in parts:
        frozen = [parameter for name, parameter in network.named_parameters(remove_duplicate=False) if _in(name, part)]
        _known("optim.frozen", part, bool(frozen), network)
        for parameter in frozen:
            parameter.requires_grad = False


def training_mode(network: nn.Module, frozen: Sequence[str]) -> None:
    """The network in training form, frozen parts in evaluation form: their batch norms keep their statistics."""
    network.train()
    for name, module in network.named_modules() if frozen else ():
        if any(_in(name, part) for part in frozen):
            module.eval()


def _groups(options: OptimOptions, network: nn.Module) -> list[dict[str, Any]]:
    groups: dict[str, list[nn.Parameter]] = {part: [] for part in ("", *options.rates)}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad or not options.frozen:
            groups[max((part for part in options.rates if _in(name, part)), key=len, default="")].append(parameter)
    for part in options.rates:
        _known("optim.rates", part, any(_in(name, part) for name, _ in network.named_parameters(remove_duplicate=False)), network)
    if not options.rates:
        return [{"params": groups[""]}]
    return [{"params": group, "share": options.rates.get(part, options.lr) / options.lr} for part, group in groups.items() if group]


def _in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def _known(key: str, part: str, found: bool, network: nn.Module) -> None:
    if not found:
        raise RecipeError(f"{key}: the network has no part {part!r}; its parts are {', '.join(name for name, _ in network.named_children())}, and theirs")
