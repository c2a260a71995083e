"""Kind `slowfastsign`: the network with its intermediates and all three branches, and its losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.batch import Heads
from models.errors import ParityError
from models.slowfastsign import published
from models.slowfastsign.config import STRIDES, FusionKind, SlowFastOptions
from models.slowfastsign.network import BRANCHES, TEACHERS, SlowFastSign
from tests.parity.adapters.vac_family import clip_volumes, compare, loss_terms, make_inputs, time_major, watch
from tests.parity.case import Case, Record
from tests.parity.comparison import Report
from tests.parity.weights import published_state

FUSIONS: dict[str, FusionKind] = {"FuseBiAdd": "bi_add", "FuseBiAdd2": "bi_add2", "FuseBiCat": "bi_cat", "FuseFastToSlow": "fast_to_slow"}
SHARING = {0: "none", 1: "branch", 2: "all"}


def run(case: Case, report: Report) -> None:
    network = build(case)
    frames, lengths = make_inputs(case, network.options.layout)
    seen, hooks = watch(_watched(network))
    with torch.no_grad():
        heads = network.eval().recognise(frames, lengths, masked=False, auxiliary=True)
    for hook in hooks:
        hook.remove()
    result = _named(seen, heads, len(frames)) | {"x": frames, "len_x": lengths, "feat_len": heads.lengths}
    compare(case, report, result, published_terms(loss_terms(case, heads, TEACHERS), case["losses_weights"]))


def _watched(network: SlowFastSign) -> dict[str, nn.Module]:
    backbone = network.backbone
    watched: dict[str, nn.Module] = {"conv2d.s1": backbone.stem, "conv2d": network.dropout}
    watched |= {f"conv2d.s{index + 2}": stage for index, stage in enumerate(backbone.stages)}
    watched |= {f"conv2d.s{index + 1}_fuse": fusion for index, fusion in enumerate(backbone.fusions)}
    watched |= {f"conv1d.{name}_temporal_conv": layers for name, layers in network.temporal.items()}
    return watched | {f"temporal_model.{index}": layer for index, layer in enumerate(network.recurrent)}


def _named(seen: dict[str, Any], heads: Heads, num_clips: int) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {"conv2d": seen.pop("conv2d").unflatten(0, (num_clips, -1)).transpose(1, 2)}
    for name, value in seen.items():
        if isinstance(value, tuple):
            named |= {f"{name}.{pathway}": clip_volumes(part, num_clips) for pathway, part in zip(("slow", "fast"), value, strict=True)}
        else:
            named[name] = time_major(value) if name.startswith("temporal_model") else value
    return named | {f"{kind}_logits.{branch}": time_major(heads.logits[_head(branch, kind)]) for branch in BRANCHES for kind in ("conv", "sequence")}


def _head(branch: str, kind: str) -> str:
    return kind if branch == "main" else f"{branch}_{kind}"


def published_terms(terms: dict[str, Tensor], weights: dict[str, float]) -> dict[str, Tensor]:
    """The terms of each branch by their published names; an auxiliary branch counts by the weight of its name."""
    kinds = {"SeqCTC": ("ctc", "sequence"), "ConvCTC": ("ctc", "conv"), "Dist": ("distil", "conv")}
    named = {f"{kind}.{branch}": terms[f"{term}_{_head(branch, head)}"] for branch in BRANCHES for kind, (term, head) in kinds.items()}
    factors = {"main": 1.0, "slow": weights.get("Slow", 0.0), "fast": weights.get("Fast", 0.0)}
    total = [factors[branch] * weights.get(kind, 0.0) * named[f"{kind}.{branch}"] for branch in BRANCHES for kind in kinds]
    return named | {"total": torch.stack(total).sum()}


def build(case: Case) -> SlowFastSign:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config, shapes = case.config, dict(case["parameters"])
    options = SlowFastOptions(
        **backbone_options(config["slowfast_config"], int(shapes["conv2d.s1.pathway0_stem.conv.weight"][0])),
        frame_size=config["input_size"],
        conv_type=config["conv_type"],
        hidden_size=config["hidden_size"],
        weight_norm=config["weight_norm"],
        share_classifier=SHARING[int(config["share_classifier"])],
    )
    network = SlowFastSign(options, config["num_classes"])
    published.load(network, published_state(case))
    return network


def backbone_options(config: Record, width: int) -> dict[str, Any]:
    """The published configuration as our options. Raises ParityError for what our backbone has no option of."""
    fixed = {
        "NUM_GROUPS": 1,
        "TRANS_FUNC": "bottleneck_transform",
        "STRIDE_1X1": False,
        "ARCH": "slowfast",
        "SPATIAL_STRIDES": [[stride, stride] for stride in STRIDES],
    }
    for key, value in fixed.items():
        if config.get(key, value) != value:
            raise ParityError(f"{config.where}.{key}: {config[key]} is not built, only {value}")
    return {
        "depth": config["DEPTH"],
        "width": width,
        "alpha": config["ALPHA"],
        "beta_inverse": config["BETA_INV"],
        "fusion": fusion_of(config["FUSE"]),
        "fusion_kernel": config["FUSION_KERNEL_SZ"],
        "fusion_ratio": config["FUSION_CONV_CHANNEL_RATIO"],
        "temporal_blocks": tuple(slow for slow, _ in config["NUM_BLOCK_TEMP_KERNEL"]),
        "feature_dropout": config["DROPOUT_RATE"],
    }


def fusion_of(name: str) -> FusionKind:
    """Our name of a published fusion. Raises ParityError."""
    if name not in FUSIONS:
        raise ParityError(f"fusion {name!r} is none of {', '.join(FUSIONS)}")
    return FUSIONS[name]
