"""Kinds `mstfnet` and `mstfnet_shared`: the network with its intermediates and auxiliary heads, and its losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.batch import Heads
from models.mstfnet import published
from models.mstfnet.config import MstfNetOptions
from models.mstfnet.lift_pool import LiftPool
from models.mstfnet.network import LEVELS, TEACHERS, MstfNet
from models.vac.resnet import depth_of
from tests.parity.adapters.vac_family import clip_volumes, compare, loss_terms, make_inputs, time_major, watch
from tests.parity.case import Case
from tests.parity.comparison import Report
from tests.parity.weights import published_state


def run(case: Case, report: Report) -> None:
    network = build(case)
    frames, lengths = make_inputs(case, network.options.layout)
    seen, hooks = watch(_watched(network))
    norms: list[Tensor] = []
    pools = [layer for layer in network.temporal if isinstance(layer, LiftPool)]
    hooks += [pool.register_forward_pre_hook(lambda module, inputs: norms.append(module.lift(inputs[0]).norms())) for pool in pools]
    with torch.no_grad():
        heads = network.eval().recognise(frames, lengths, masked=False, auxiliary=True)
    for hook in hooks:
        hook.remove()
    result = _named(seen, heads, len(frames)) | {
        "x": frames,
        "len_x": lengths,
        "feat_len": heads.lengths,
        "lift_pool_norms": torch.stack(norms) if norms else norms,
    }
    compare(case, report, result, published_terms(loss_terms(case, heads, TEACHERS), case["losses_weights"]))


def _named(seen: dict[str, Any], heads: Heads, num_clips: int) -> dict[str, Tensor]:
    named = {
        name: clip_volumes(value, num_clips) if name.startswith(("conv2d.layer", "conv2d.stf", "HFEAM.stse")) and value.shape[0] != num_clips else value
        for name, value in seen.items()
    }
    named |= {
        name: clip_volumes(value.relu(), num_clips) for name, value in seen.items() if name.startswith("HFEAM.con")
    }  # the ReLU isn't the norm's module here
    named |= {name: value[:, :, None] for name, value in seen.items() if name.endswith(".calibration")}
    named |= {"conv2d": seen["conv2d"][0], "temporal_model": time_major(seen["temporal_model"])}
    named |= {f"{name}_logits": time_major(heads.logits[name]) for name in ("conv", "sequence")}
    return named | {f"res2.{index}": time_major(heads.logits[name]) for index, name in enumerate(LEVELS)}


def _watched(network: MstfNet) -> dict[str, nn.Module]:
    backbone, levels = network.backbone, network.levels
    watched: dict[str, nn.Module] = {f"conv2d.layer{stage}": getattr(backbone, f"layer{stage}") for stage in (1, 2, 3, 4)}
    for index, fusion in enumerate(backbone.fusions):
        watched |= {f"conv2d.stf{index + 1}": fusion, f"conv2d.stf{index + 1}.calibration": fusion.calibration}
    watched |= {"HFEAM.con2": levels.norms[0], "HFEAM.con3": levels.norms[1]}
    watched |= {f"HFEAM.stse{index + 1}": attention for index, attention in enumerate(levels.attentions) if len(levels.attentions) > 1}
    watched |= {f"conv1d.temporal_conv.{index}": layer for index, layer in enumerate(network.temporal)}
    return watched | {"conv2d": backbone, "temporal_model": network.recurrent}


def published_terms(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The auxiliary terms weigh 1, whatever the weight of SeqCTC."""
    named = {"SeqCTC": terms["ctc_sequence"], "ConvCTC": terms["ctc_conv"], "Dist": terms["distil_conv"]}
    levels = {f"HFEAM{index}": terms[f"ctc_{name}"] for index, name in enumerate(LEVELS)}
    total = [weights.get(name, 0.0) * value for name, value in named.items()] + list(levels.values())
    return named | levels | {"total": torch.stack(total).sum()}


def build(case: Case) -> MstfNet:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config = case.config
    state = published_state(case)
    options = MstfNetOptions(
        depth=depth_of(config["c2d_type"]),
        width=len(state["conv2d.bn1.weight"]),
        attention="shared" if config["variant"].startswith("shared") else "per_level",
        level_size=config["hfeam_inplanes"],
        frame_size=config["input_size"],
        conv_type=config["conv_type"],
        hidden_size=config["hidden_size"],
        weight_norm=config["weight_norm"],
        share_classifier=config["share_classifier"],
    )
    network = MstfNet(options, config["num_classes"])
    published.load(network, state)
    return network
