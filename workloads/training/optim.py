"""Optimiser and learning rate of a recipe."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from workloads.recipe import OptimOptions


def make_optimizer(options: OptimOptions, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser over all parameters in one group; weight decay counts on every parameter, as published."""
    parameters = list(parameters)
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
    for group in optimizer.param_groups:
        group["lr"] = rate
