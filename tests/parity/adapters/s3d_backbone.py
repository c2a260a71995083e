"""Kind `s3d_backbone`: the output of every layer of the S3D trunk, and the spatial mean of the last."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.s3d import published
from models.s3d.config import S3dOptions
from models.s3d.network import S3d
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report
from tests.parity.weights import published_state

CLIP = "array('{name:text}', ({clips}, {channels}, {frames}, {height}, {width}), seed={seed}) clamped to [{low}, {high}]"


def run(case: Case, report: Report) -> None:
    config = case.config
    options = S3dOptions(in_channels=config["in_channel"], num_blocks=config["use_block"], frozen_blocks=config["freeze_block"], last_stride=config["stride"])
    trunk = S3d(options).eval()
    published.load(trunk, published_state(case))
    outputs: dict[str, Tensor] = {}
    for index, layer in enumerate(trunk.layers):
        layer.register_forward_hook(_keep(outputs, f"base.{index}"))
    with torch.no_grad():
        last, _ = trunk(_clip(case.inputs["clip"]))
    outputs["pooled"] = last.mean((3, 4)).transpose(1, 2)
    report.compare_all("expected", outputs, case.expected)


def _clip(entry: Record) -> Tensor:
    recipe = recipe_match(CLIP, entry["made"])
    shape = [int(recipe[axis]) for axis in ("clips", "channels", "frames", "height", "width")]
    return torch.from_numpy(formula.array(recipe["name"], shape, int(recipe["seed"]))).clamp(float(recipe["low"]), float(recipe["high"]))


def _keep(outputs: dict[str, Tensor], name: str) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        outputs[name] = output

    return hook
