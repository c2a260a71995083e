"""Published names of the recognisers: counts, round trips, refusals, starting from trained streams."""

from __future__ import annotations

import pytest
import torch

from models.errors import CheckpointError
from models.twostream.config import SingleStreamOptions
from models.twostream.network import TwoStream
from models.twostream.published import export_single, export_two_stream, load_single, load_streams, load_two_stream
from models.twostream.single_stream import SingleStream
from tests.unit.models.twostream.tiny import HEAD, KEYPOINT, NUM_CLASSES, TWO, single, two

KEYPOINT_STREAM = SingleStreamOptions(stream="keypoint", trunk=KEYPOINT, head=HEAD)


def same(ours: torch.nn.Module, theirs: torch.nn.Module) -> bool:
    return all(torch.equal(value, wanted) for value, wanted in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True))


def test_entries_are_as_many_as_published() -> None:
    assert len(export_two_stream(two())) == 912
    assert len(export_single(single())) == 384


def test_released_files_come_back() -> None:
    ours, other = two(), two(seed=4)
    load_two_stream(ours, export_two_stream(other))
    assert same(ours, other)
    for options in (SingleStreamOptions(trunk=TWO.rgb, head=HEAD), KEYPOINT_STREAM):
        stream, trained = single(options), single(options, seed=4)
        load_single(stream, export_single(trained))
        assert same(stream, trained)


def test_laterals_are_numbered_in_their_order() -> None:
    options = TWO.model_copy(update={"lateral_blocks": (2, 3), "keypoint_to_rgb": False})
    names = [name for name in export_two_stream(two(options)) if "lateral" in name]
    assert names == [f"recognition_network.visual_backbone_twostream.pose_stream_lateral.{index}.conv.weight" for index in (0, 1)]


def test_older_keypoint_checkpoints_load() -> None:
    trained = single(KEYPOINT_STREAM, seed=4)
    older = {name.replace("visual_head_keypoint", "visual_head"): value for name, value in export_single(trained).items()}
    stream = single(KEYPOINT_STREAM)
    load_single(stream, older)
    assert same(stream, trained)


def test_what_does_not_fit_is_refused() -> None:
    state = export_two_stream(two())
    del state["recognition_network.visual_head_fuse.fc1.bias"]
    state["recognition_network.visual_head_extra.fc1.bias"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match=r"missing recognition_network\.visual_head_fuse\.fc1\.bias; unexpected recognition_network\.visual_head_extra"):
        load_two_stream(two(), state)
    with pytest.raises(CheckpointError, match=r"gloss_output_layer.*shape \(9, 16\), this network has \(11, 16\): check the widths and the vocabulary"):
        load_single(SingleStream(single().options, 11), export_single(single()))


def test_joint_training_starts_from_two_streams() -> None:
    network: TwoStream = two()
    rgb, keypoint = single(seed=4), single(KEYPOINT_STREAM, seed=5)
    load_streams(network, rgb, keypoint)
    assert same(network.trunks["rgb"], rgb.trunk)
    assert same(network.heads["keypoint"], keypoint.head)
    with pytest.raises(ValueError, match="the keypoint stream was given a network of the rgb stream"):
        load_streams(network, rgb, rgb)
    assert network.num_classes == NUM_CLASSES
