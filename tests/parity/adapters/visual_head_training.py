"""Kind `visual_head_training`: one training step of the visual head, dropout off."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

from models.batch import valid_steps
from models.heads.visual_head import VisualHead
from models.losses.ctc import ctc_loss
from models.mska.published import HEAD_RENAMES
from models.published.loading import load_published, renamed
from tests.parity import formula
from tests.parity.case import Case
from tests.parity.comparison import Report
from tests.parity.weights import published_state


def run(case: Case, report: Report) -> None:
    config, inputs = case.config, case["inputs"]
    head = VisualHead(
        config["input_size"],
        config["num_classes"],
        hidden_size=config["hidden_size"],
        ff_size=config["ff_size"],
        ff_kernels=tuple(config["ff_kernelsize"]),
        position=config["pe"],
        dropout=0.0,
    )
    load_published(head, published_state(case), to_published=HEAD_RENAMES, ignored=r"^pe\.pe$")
    head.train()
    x_BSD = _input(inputs["head_input"]["made"])
    lengths = torch.tensor(inputs["lengths"])
    seen: dict[str, Tensor] = {}
    head.input_norm.register_forward_hook(lambda *call: seen.update(after_masked_norm=call[2]))
    logits, feature = head(x_BSD, valid_steps(lengths, x_BSD.shape[1]), masked=False)
    labels = inputs["gloss_labels"]
    loss = ctc_loss(logits, lengths, torch.tensor(labels["value"]), torch.tensor(labels["lengths"]))
    loss.backward()
    ours = seen | {"gloss_feature": feature, "gloss_logits": logits} | _after(head)
    report.compare_all("expected", ours, case["expected"])
    report.compare_all("losses", {"ctc": loss}, case["losses"])


def _input(made: str) -> Tensor:
    match = re.search(r"array\('(\w+)', \(([\d, ]+)\), seed=(\d+)\)", made)
    if match is None:
        raise ValueError(f"head_input is not made by array(...): {made!r}")
    return torch.from_numpy(formula.array(match[1], tuple(int(size) for size in match[2].split(",")), int(match[3])))


def _after(head: nn.Module) -> dict[str, Any]:
    buffers = {f"{renamed(name, HEAD_RENAMES)}_after": value for name, value in head.named_buffers()}
    return buffers | {f"grad {renamed(name, HEAD_RENAMES)}": value.grad for name, value in head.named_parameters()}
