"""Kind `corrnet`: the network with its intermediates, and its losses."""

from __future__ import annotations

import torch
from torch import Tensor

from models.corrnet import published
from models.corrnet.config import CorrNetOptions
from models.corrnet.network import TEACHERS, CorrNet
from models.vac.resnet import depth_of
from tests.parity.adapters.vac_family import clip_volumes, compare, loss_terms, make_inputs, time_major, watch
from tests.parity.case import Case
from tests.parity.comparison import Report
from tests.parity.weights import published_state


def run(case: Case, report: Report) -> None:
    network = build(case)
    frames, lengths = make_inputs(case, network.options.layout)
    backbone = network.backbone
    watched = {f"conv2d.layer{stage}": getattr(backbone, f"layer{stage}") for stage in (1, 2, 3, 4)}
    watched |= {f"conv2d.corr{int(stage) - 1}": block for stage, block in backbone.correlations.items()}
    watched |= {f"conv1d.temporal_conv.{index}": layer for index, layer in enumerate(network.temporal)}
    seen, hooks = watch(watched | {"conv2d": backbone, "temporal_model": network.recurrent})
    with torch.no_grad():
        heads = network.eval().recognise(frames, lengths, masked=False)
    for hook in hooks:
        hook.remove()
    seen = {name: clip_volumes(value, len(frames)) if value.dim() == 4 else value for name, value in seen.items()}
    seen |= {"x": frames, "len_x": lengths, "feat_len": heads.lengths, "temporal_model": time_major(seen["temporal_model"])}
    seen |= {f"{name}_logits": time_major(value) for name, value in heads.logits.items()}
    terms = loss_terms(case, heads, TEACHERS)
    compare(case, report, seen, published_terms(terms, case["losses_weights"]))


def published_terms(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    named = {"SeqCTC": terms["ctc_sequence"], "ConvCTC": terms["ctc_conv"], "Dist": terms["distil_conv"]}
    return named | {"total": torch.stack([weights.get(name, 0.0) * value for name, value in named.items()]).sum()}


def build(case: Case) -> CorrNet:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config = case.config
    shapes = dict(case["parameters"])
    options = CorrNetOptions(
        depth=depth_of(config["c2d_type"]),
        width=shapes["conv2d.bn1.weight"][0],
        frame_size=config["input_size"],
        conv_type=config["conv_type"],
        hidden_size=config["hidden_size"],
        weight_norm=config["weight_norm"],
        share_classifier=config["share_classifier"],
        stages=tuple(stage for stage in (2, 3, 4) if f"conv2d.corr{stage - 1}.weights" in shapes),
    )
    network = CorrNet(options, config["num_classes"])
    published.load(network, published_state(case))
    return network
