"""Kind `dsta_slr`: the isolated-sign network, its loss, and one step in training mode in float64 with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.dsta_slr import published
from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.skeleton import adjacency
from models.dsta_slr.streams import Stream
from models.published.loading import renamed
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_values
from tests.parity.comparison import Report
from tests.parity.weights import published_state


def run(case: Case, report: Report) -> None:
    network = build(case)
    skeletons, labels = make_inputs(case)
    seen = evaluate(network, skeletons)
    report.compare_all("expected", seen, case["expected"])
    report.compare_all("losses", {"cross_entropy_eval": F.cross_entropy(seen["logits"], labels)}, case["losses"])
    if training := case.get("train_mode_keep_prob_1"):
        compare_training(network, skeletons, labels, training, report)


def build(case: Case) -> DstaSlr:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config = case.config
    options = DstaOptions(
        num_keypoints=config["num_point"],
        width=config["inner_dim"],
        depth=config["depth"],
        drop_blocks=config["drop_layers"],
        drop_frames=config["block_size"],
    )
    network = DstaSlr(options, config["num_class"])
    state = published_state(case, constant=lambda _name, shape: adjacency().reshape(shape))
    published.load(network, state, stream=Stream.JOINT, any_stream=True)  # the formula's statistics are of no stream
    return network


def make_inputs(case: Case) -> tuple[Tensor, Tensor]:
    """Skeletons (B, T, K, 3) and labels (B,) by the case's recipe."""
    record = case.inputs["keypoints"]
    numbers = recipe_values(
        "x = formula.array('keypoints', shape, seed); channels 0 and 1 are left as they are; channel 2 = clip({offset} + {spread}*x, {low}, {high})",
        record["how"],
    )
    raw = formula.array("keypoints", tuple(record["shape"]), case.seed)
    raw[:, 2] = np.clip(numbers["offset"] + numbers["spread"] * raw[:, 2], numbers["low"], numbers["high"])
    skeletons = torch.from_numpy(raw[..., 0]).permute(0, 2, 3, 1).contiguous()
    return skeletons, labels(case, len(raw))


def labels(case: Case, count: int) -> Tensor:
    """The recorded labels, or, where none are recorded, those of the recipe."""
    record = case.inputs["label"]
    if "value" in record:
        return torch.tensor(record["value"])
    bounds = recipe_values("formula.integers('label', [N], {low}, {high}, seed)", record["how"])
    return torch.from_numpy(formula.integers("label", (count,), int(bounds["low"]), int(bounds["high"]), case.seed))


def evaluate(network: DstaSlr, skeletons: Tensor) -> dict[str, Tensor]:
    """Every intermediate and output by its published name, channels second as the published program lays them out."""
    seen: dict[str, Tensor] = {}
    hooks = [module.register_forward_hook(_keep(seen, name)) for name, module in network.named_modules() if name]
    network.eval()
    with torch.no_grad():
        logits = network.classify(skeletons)
        pooled = network.features(skeletons)
    for hook in hooks:
        hook.remove()
    blocks = {name: value for name, value in seen.items() if name.startswith("blocks.") and value.dim() == 4}
    for index, block in enumerate(network.blocks):
        edges = block.spatial.edges
        blocks[f"blocks.{index}.spatial.edges"] = seen[f"blocks.{index}.spatial.edges"] @ edges.features.detach().T
    ours = {_published(name): value.permute(1, 3, 0, 2) for name, value in blocks.items()}
    ours |= {name: value.permute(0, 2, 3, 1).flatten(0, 1) for name, value in ours.items() if name.endswith(".mlp")}  # (clips·frames, joints, channels)
    return ours | {"data_bn": seen["input_norm"].permute(1, 2, 0), "pooled": pooled, "logits": logits}


def _published(name: str) -> str:
    """The published name of a module of ours."""
    return renamed(name + ".", published.RENAMES).removesuffix(".")


def _keep(seen: dict[str, Tensor], name: str) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        seen[name] = output

    return hook


def compare_training(network: DstaSlr, skeletons: Tensor, labels: Tensor, expected: Record, report: Report) -> None:
    """One forward and backward in training mode, float64, with the drop modules off."""
    network.double().train().set_keep_probability(1.0)
    logits = network.classify(skeletons.double())
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    parameters = {renamed(name, published.RENAMES): value for name, value in network.named_parameters()}
    buffers = {renamed(name, published.RENAMES): value for name, value in network.named_buffers()}
    gradients = {name: published.to_published(name, _gradient(parameters[name])) for name in expected["gradients"]}
    result = {"logits": logits, "cross_entropy": loss, "gradients": gradients, "buffers": buffers}
    report.compare_all("train_mode_keep_prob_1", result, expected)


def _gradient(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
