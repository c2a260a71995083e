"""Kind `twostream_slr`: heatmaps, both inputs, lateral connections, pyramids, seven heads, ensembles, every loss term, decoding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.errors import ParityError
from models.losses.auxiliary import TwoStreamLossOptions, two_stream_losses
from models.s3d.config import S3dOptions
from models.twostream import published
from models.twostream.config import TwoStreamOptions
from models.twostream.heads import StreamHeads, early_logits, ensemble_logits
from models.twostream.network import HEADS, STREAMS, TwoStream
from tests.parity.adapters.video_recognition import compare_decoded, head_options, heatmap_input, keypoints, targets, video_input, videos
from tests.parity.case import Case, Record
from tests.parity.comparison import Report
from tests.parity.weights import published_state

PUBLISHED_STREAMS = {"rgb": "rgb", "keypoint": "pose"}


def run(case: Case, report: Report) -> None:
    network = build(case)
    lengths = case.inputs["sgn_lengths"]
    frames = videos(case.inputs["sgn_videos"], lengths)
    raw, maps = heatmap_input(case, keypoints(case.inputs["sgn_keypoints"], lengths), (frames.shape[3], frames.shape[4]))
    pictures = video_input(case, frames)
    seen: dict[str, Any] = {"raw_heatmaps": raw, "video_input": pictures, "heatmap_input": maps}
    with torch.no_grad():
        watch(network, seen)
        heads = network.recognise(pictures, maps, torch.tensor(lengths), masked=False, auxiliary=True)
    assert heads.auxiliary is not None
    logits = published_logits(heads)
    report.compare_all("expected", seen | logits | outputs(heads, logits), case.expected)
    report.compare_all("losses", losses(case, heads), case["losses"])
    counts = {name: heads.auxiliary.lengths if "aux" in name or "early" in name else heads.lengths for name in logits}
    compare_decoded(case, logits, counts, report)


def build(case: Case) -> TwoStream:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config, parts = case.config, case.config["RecognitionNetwork"]
    if parts["fuse_method"] != "triplehead_cat_bilateral" or (parts["pyramid"]["version"], parts["pyramid"]["num_levels"]) != ("v1", 3):
        raise ParityError("config.RecognitionNetwork: only fuse_method triplehead_cat_bilateral with a pyramid v1 of 3 levels is published")
    lateral = parts["lateral"]
    options = TwoStreamOptions(
        rgb=S3dOptions(frozen_blocks=parts["s3d"]["freeze_block"]),
        keypoint=S3dOptions(in_channels=parts["keypoint_s3d"]["in_channel"], frozen_blocks=parts["keypoint_s3d"]["freeze_block"]),
        lateral_blocks=tuple(int(name.removeprefix("c")) for name in lateral["fusion_features"]),
        keypoint_to_rgb=lateral["pose2rgb"],
        rgb_to_keypoint=lateral["rgb2pose"],
        rgb_first=parts.get("cat_order") == "rgb_first",
        head=head_options(parts["visual_head"]),
    )
    network = TwoStream(options, config["num_classes"]).eval()
    published.load_two_stream(network, published_state(case))
    return network


def watch(network: TwoStream, seen: dict[str, Any]) -> None:
    """Keep the features after each exchange, and the pyramids' levels."""
    for index, exchange in enumerate(network.exchanges.values()):
        names = [f"after_{PUBLISHED_STREAMS[name]}_stream_lateral.{index}" for name in STREAMS]
        exchange.register_forward_hook(lambda *call, names=names: seen.update(zip(names, call[2], strict=True)))
    for name, published_name in PUBLISHED_STREAMS.items():
        network.pyramids[name].register_forward_hook(
            lambda *call, stem=f"{published_name}_pyramid_level": seen.update({f"{stem}0": call[2][0], f"{stem}1": call[2][1]})
        )


def published_logits(heads: StreamHeads) -> dict[str, Tensor]:
    assert heads.auxiliary is not None
    logits = {f"{name}_gloss_logits": heads.logits[name] for name in HEADS}
    logits |= {"ensemble_last_gloss_logits": ensemble_logits(heads), "ensemble_early_gloss_logits": early_logits(heads)}
    return logits | {f"{name}_logits": value for name, value in heads.auxiliary.logits.items()}


def outputs(heads: StreamHeads, logits: dict[str, Tensor]) -> dict[str, Any]:
    """Everything else that a case may expect."""
    assert heads.auxiliary is not None
    ours: dict[str, Any] = {f"{name}_gloss_feature": value for name, value in heads.features.items()}
    ours |= {f"head_{name}_input": value for name, value in heads.inputs.items()}
    ours |= {f"{PUBLISHED_STREAMS[name]}_pyramid_level2": heads.inputs[name] for name in STREAMS}
    ours |= {"valid_len_level0": heads.auxiliary.lengths, "valid_len_level1": heads.auxiliary.lengths, "valid_len_level2": heads.lengths}
    probabilities = {name.replace("gloss_logits", "gloss_probabilities"): value for name, value in logits.items() if name.endswith("gloss_logits")}
    ours |= {f"{name}_log": value.log_softmax(-1) for name, value in probabilities.items()}
    return ours | {name: value.softmax(-1) for name, value in probabilities.items()}


def losses(case: Case, heads: StreamHeads) -> dict[str, Tensor]:
    """The case's loss terms by their published names, weighed as its configuration says."""
    parts = case.config["RecognitionNetwork"]
    distillation = parts["cross_distillation"]
    options = TwoStreamLossOptions(teaching=distillation.get("hard_or_soft", "soft"))
    terms = two_stream_losses(heads, heads.auxiliary, *targets(case), options)
    named = {name: value for name, value in terms.items() if name.startswith("ctc_")}
    total = terms["ctc_fuse"]
    named["recognition_loss_fuse"] = terms["ctc_fuse"]
    for name in STREAMS:
        stream = terms[f"ctc_{name}"] + head_weight(parts["pyramid"], name) * (terms[f"ctc_{name}_aux_0"] + terms[f"ctc_{name}_aux_1"])
        named[f"recognition_loss_{name}"] = stream
        total = total + stream
    for name in HEADS:
        teaches = f"ensemble_last_teaches_{name}"
        named[f"{teaches}_loss"] = terms[f"distil_{name}"]
        total = total + distillation["types"].get(teaches, 0) * terms[f"distil_{name}"]
    return named | {"recognition_loss": total}


def head_weight(pyramid: Record, stream: str) -> float:
    return float(pyramid[f"head_weight_{stream}"] if f"head_weight_{stream}" in pyramid else pyramid["head_weight"])
