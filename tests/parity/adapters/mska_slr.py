"""Kind `mska_slr`: the recognition network, its losses, and one step in training mode in float64 with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import Heads
from models.heads.visual_head import MAX_STEPS, VisualHead
from models.losses.ctc import recognition_losses
from models.mska import published
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import HEADS, Mska, concatenated, ensemble_logits
from models.positions import sinusoid
from models.published.loading import renamed
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_part
from tests.parity.comparison import Report
from tests.parity.weights import published_state


def run(case: Case, report: Report) -> None:
    network = build(case)
    inputs = make_inputs(case)
    report.compare_all("expected", evaluate(network, inputs), case["expected"])
    with torch.no_grad():
        heads = network.eval().recognise(inputs["keypoints"], inputs["lengths"], masked=False)
    report.compare_all("losses", losses(heads, inputs, distillation=distilled(case)), case["losses"])
    if training := case.get("train_mode_no_dropout"):
        compare_training(network, inputs, training, report, distillation=distilled(case))


def build(case: Case) -> Mska:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    network = make_network(case)
    published.load(network, state(case, network))
    return network


def state(case: Case, network: Mska) -> dict[str, Tensor]:
    """The published state dict that the case describes."""
    tables = published.tables(network)
    for name, head in network.heads.items():
        assert isinstance(head, VisualHead)
        tables[f"{published.PREFIX}{name}_visual_head.pe.pe"] = sinusoid(MAX_STEPS, head.input.out_features)[None]
    return published_state(case, constant=lambda name, shape: tables[name].reshape(shape))


def make_network(case: Case) -> Mska:
    """The network of the case's configuration."""
    config = case.config
    heads = {name: _head_options(config["heads"][name]) for name in HEADS}
    options = MskaOptions(
        num_keypoints=case.inputs["keypoint"]["shape"][-1],
        blocks=tuple(BlockShape(*row) for row in config["net"]),
        num_subsets=config["num_subset"],
        max_frames=config["num_frame"],
        attention_dropout=config.get("attention_dropout", 0.1),
        head=heads["fuse"],
        **{stream: tuple(config[stream]) for stream in ("left", "right", "face", "body")},
    )
    network = Mska(options, config["num_classes"])
    for name, width in options.head_inputs.items():
        if heads[name] != options.head:  # our options know one size for all heads; a case lists each
            network.heads[name] = VisualHead(width, network.num_classes, **heads[name].model_dump())
    return network


def _head_options(head: Record) -> HeadOptions:
    return HeadOptions(hidden_size=head["hidden_size"], ff_size=head["ff_size"], ff_kernels=tuple(head["ff_kernelsize"]), position=head["pe"])


def distilled(case: Case) -> bool:
    """Whether the recognition loss holds the KL terms (mska.md, section 5): as the configuration says; where it says nothing, if such are expected."""
    said = case.config.get("cross_distillation")
    return any("distill" in name for name in case["losses"]) if said is None else bool(said)


def make_inputs(case: Case) -> dict[str, Tensor]:
    """Keypoints (B, T, K, 3) and targets by the case's recipe; the clips' last frames repeat."""
    inputs, seed = case["inputs"], case.seed
    how = inputs["keypoint"]["how"]
    scale, low, high = recipe_part("channels 0 and 1 = clip({}*raw, {}, {})", how)
    offset, spread, least, most = recipe_part("channel 2 = clip({} {+}*raw, {}, {})", how)
    raw = formula.array("keypoint", tuple(inputs["keypoint"]["shape"]), seed)
    raw[:, :2] = np.clip(scale * raw[:, :2], low, high)
    raw[:, 2:] = np.clip(offset + spread * raw[:, 2:], least, most)
    for clip, length in zip(raw, inputs["src_length"], strict=True):
        clip[:, length:] = clip[:, length - 1 : length]
    return {
        "keypoints": torch.from_numpy(raw).permute(0, 2, 3, 1).contiguous(),
        "lengths": torch.tensor(inputs["src_length"]),
        "targets": torch.tensor(inputs["gloss_labels"]["value"]),
        "target_lengths": torch.tensor(inputs["gls_lengths"]),
    }


def evaluate(network: Mska, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every intermediate and output of the published form, by its published name."""
    seen: dict[str, Tensor] = {}
    hooks = [module.register_forward_hook(_keep(seen, name, joints)) for name, module, joints in _watched(network)]
    network.eval()
    with torch.no_grad():
        heads = network.recognise(inputs["keypoints"], inputs["lengths"], masked=False)
    for hook in hooks:
        hook.remove()
    streams = {name: seen.pop(name) for name in network.streams}
    features = concatenated(streams)
    seen |= {f"backbone_out.{name if name in ('fuse', 'body') else name + '_cat'}": value for name, value in features.items()}
    seen |= {f"{name}_gloss_feature": value for name, value in heads.features.items()}
    return seen | outputs(heads)


def outputs(heads: Heads) -> dict[str, Tensor]:
    ensemble = ensemble_logits(heads)
    logits = {f"{name}_gloss_logits": value for name, value in heads.logits.items()}
    return logits | {"ensemble_last_gloss_logits": ensemble, "ensemble_last_gloss_probabilities": ensemble.softmax(-1)}


def _watched(network: Mska) -> list[tuple[str, nn.Module, int | None]]:
    """Published name, module and joints of what is compared inside; a stream's own output has no joints left."""
    watched: list[tuple[str, nn.Module, int | None]] = []
    for name, stream in network.streams.items():
        joints = len(network.options.streams[name])
        watched += [(name, stream, None), (f"visual_backbone_keypoint.{name}_input_map", stream.input_norm, joints)]
        watched += [(f"visual_backbone_keypoint.{name}_graph_layers.{index}", block, joints) for index, block in enumerate(stream.blocks)]
    return watched


def _keep(seen: dict[str, Tensor], name: str, joints: int | None) -> Any:
    def hook(_: nn.Module, __: Any, output: Tensor) -> None:
        seen[name] = output if joints is None else output[..., :joints]  # padded joints left out

    return hook


def losses(heads: Heads, inputs: dict[str, Tensor], *, distillation: bool) -> dict[str, Tensor]:
    """The case's loss terms by their published names; the published total of recognition includes distillation where it is on."""
    terms = recognition_losses(heads, inputs["targets"], inputs["target_lengths"], distillation=distillation)
    named = {f"recognition_loss_{name}": terms[f"ctc_{name}"] for name in heads.logits}
    if distillation:
        named |= {f"{name}_distill_loss": terms[f"distil_{name}"] for name in heads.logits}
    total = torch.stack(list(terms.values())).sum()
    return named | {"recognition_loss": total, "total_loss": total}


def compare_training(network: Mska, inputs: dict[str, Tensor], expected: dict[str, Any], report: Report, *, distillation: bool) -> None:
    """One forward and backward in training mode, float64, without dropout."""
    network.double().train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    heads = network.recognise(inputs["keypoints"].double(), inputs["lengths"], masked=False)
    terms = losses(heads, inputs, distillation=distillation)
    terms["total_loss"].backward()
    ours = {published.PREFIX + renamed(name, published.RENAMES): value for name, value in network.named_parameters()}
    buffers = {published.PREFIX + renamed(name, published.RENAMES): value for name, value in network.named_buffers()}
    shapes = {name: record["shape"] for name, record in expected["gradients"].items()}
    gradients = {name: ours[name].grad.reshape(shape) for name, shape in shapes.items()}
    result = {"losses": terms, "outputs": outputs(heads), "gradients": gradients, "buffers": buffers}
    report.compare_all("train_mode_no_dropout", result, expected)
