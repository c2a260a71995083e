"""Kind `singlestream_slr`: evaluation preprocessing, S3D blocks 2 to 4, the head, its loss, decoding."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from models.batch import valid_steps
from models.losses.ctc import ctc_loss
from models.s3d.config import BLOCK_ENDS, S3dOptions
from models.twostream import published
from models.twostream.config import FEATURE_BLOCKS, KEYPOINT_TRUNK, SingleStreamOptions
from models.twostream.single_stream import SingleStream
from tests.parity.adapters.video_recognition import compare_decoded, frame_size, head_options, heatmap_input, keypoints, targets, video_input, videos
from tests.parity.case import Case, Record
from tests.parity.comparison import Report
from tests.parity.weights import published_state

LATER_BLOCKS = r"\.base\.(13|14|15)\."  # of `use_block` 5, whose features the published program doesn't read


def run(case: Case, report: Report) -> None:
    network = build(case)
    stream = network.options.stream
    clip = network_input(case, stream)
    lengths = torch.tensor(case.inputs["sgn_lengths"])
    seen: dict[str, Tensor] = {}
    for block in range(2, FEATURE_BLOCKS + 1):
        network.trunk.layers[BLOCK_ENDS[block - 1]].register_forward_hook(lambda *call, name=f"block{block}": seen.update({name: call[2]}))
    with torch.no_grad():
        heads = network.recognise(clip, lengths, masked=False)
    logits = heads.logits[stream]
    ours: dict[str, Any] = seen | {
        "network_input": clip,
        f"head_{stream}_input": heads.inputs[stream],
        "gloss_feature": heads.features[stream],
        "gloss_logits": logits,
        "gloss_probabilities_log": logits.log_softmax(-1),
        "gloss_probabilities": logits.softmax(-1),
        "valid_len_out": heads.lengths,
        "sgn_mask": valid_steps(heads.lengths, logits.shape[1])[:, None],
    }
    report.compare_all("expected", ours, case.expected)
    report.compare_all("losses", {"recognition_loss": ctc_loss(logits, heads.lengths, *targets(case))}, case["losses"])
    compare_decoded(case, {"gloss_logits": logits}, {"gloss_logits": heads.lengths}, report)


def build(case: Case) -> SingleStream:
    """The network of the case's configuration with the formula's weights, loaded as a published checkpoint is."""
    config, parts = case.config, case.config["RecognitionNetwork"]
    keypoint = config["input_streams"] == ["keypoint"]
    trunk = _keypoint_trunk(parts["keypoint_s3d"]) if keypoint else S3dOptions(frozen_blocks=parts["s3d"]["freeze_block"])
    options = SingleStreamOptions(stream="keypoint" if keypoint else "rgb", trunk=trunk, head=head_options(parts["visual_head"]))
    network = SingleStream(options, config["num_classes"]).eval()
    published.load_single(network, {name: value for name, value in published_state(case).items() if not re.search(LATER_BLOCKS, name)})
    return network


def _keypoint_trunk(config: Record) -> S3dOptions:
    return S3dOptions(in_channels=config["in_channel"] or KEYPOINT_TRUNK.in_channels, frozen_blocks=config["freeze_block"])


def network_input(case: Case, stream: str) -> Tensor:
    lengths = case.inputs["sgn_lengths"]
    if stream == "rgb":
        return video_input(case, videos(case.inputs["sgn_videos"], lengths))
    return heatmap_input(case, keypoints(case.inputs["sgn_keypoints"], lengths), frame_size(case))[1]
