"""Released files, and the check which stream their weights belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dsta_slr.diagnosis import class_permutation, likely_stream, reestimate_statistics
from models.dsta_slr.fusion import PRESETS, published_weights
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.published import export, load, read
from models.dsta_slr.streams import Stream, centred, view
from models.errors import CheckpointError
from tests.unit.models.dsta_slr.tiny import NUM_CLASSES, OPTIONS, clips, signing, tiny

STREAMS = list(Stream)


def trained_on(skeletons: NDArray[np.float32], stream: Stream) -> DstaSlr:
    """A network whose batch norms have seen the stream."""
    torch.manual_seed(0)
    network = DstaSlr(OPTIONS.model_copy(update={"depth": 1, "drop_blocks": 0}), NUM_CLASSES)
    seen = torch.from_numpy(centred(view(skeletons, stream)))
    reestimate_statistics(network, [seen])
    return network


def noise(count: int, num_frames: int, seed: int) -> NDArray[np.float32]:
    """Joints that move each by itself, as in the parity cases."""
    values = np.random.default_rng(seed).normal(size=(count, num_frames, 27, 3))
    return np.concatenate([256 + 60 * values[..., :2], np.clip(0.6 + 0.2 * values[..., 2:], 0, 1)], axis=-1).astype(np.float32)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("skeletons", [signing, noise])
@pytest.mark.parametrize("seed", [0, 1])
def test_statistics_tell_the_stream(skeletons: Callable[[int, int, int], NDArray[np.float32]], stream: Stream, seed: int) -> None:
    network = trained_on(skeletons(8, 32, seed), stream)
    guess = likely_stream(export(network))
    assert guess.stream == stream, guess
    # Where every joint moves by itself, true bones differ from joints in the nose alone.
    assert guess.clear or (skeletons is noise and stream in (Stream.JOINT_MOTION, Stream.TRUE_BONE_MOTION)), guess
    assert likely_stream(network.state_dict()) == guess


def test_loading_refuses_weights_of_another_stream() -> None:
    source = trained_on(signing(8, 30), Stream.JOINT_MOTION)
    target = DstaSlr(source.options, NUM_CLASSES)
    before = export(target)["fc.weight"].clone()
    with pytest.raises(
        CheckpointError, match=r"belong to the stream joint_motion \(mean confidence of the nose .*\), not joint: evaluate them on joint_motion"
    ):
        load(target, export(source), stream=Stream.JOINT)
    assert target.classifier.weight.equal(before)
    assert load(target, export(source), stream=Stream.JOINT, any_stream=True).stream == Stream.JOINT_MOTION
    assert load(target, export(source), stream=Stream.JOINT_MOTION).clear
    assert target.classifier.weight.equal(source.classifier.weight)


def test_an_unsure_guess_refuses_nothing() -> None:
    state = export(tiny())
    state["data_bn.running_mean"] = torch.full((81,), 0.05)
    assert not likely_stream(state).clear
    load(tiny(), state, stream=Stream.BONE)


def test_statistics_of_other_skeletons_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no data_bn.running_mean of 27 joints"):
        likely_stream({"data_bn.running_mean": torch.zeros(75)})


def test_round_trip_and_prefix() -> None:
    source, target = tiny(seed=1), tiny(seed=2)
    load(target, {f"module.{name}": value for name, value in export(source).items()}, stream=Stream.JOINT, any_stream=True)
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layers.1.tcn3.branches.1.bn.bias"), r"missing layers\.1\.tcn3\.branches\.1\.bn\.bias"),
        (lambda state: state.update(other=torch.zeros(1)), "unexpected other"),
        (lambda state: state.update({"fc.bias": torch.zeros(9)}), r"fc\.bias: shape \(9,\), this network has \(5,\)"),
    ],
)
def test_refuses_another_checkpoint(change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    state = export(tiny())
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load(tiny(), state, stream=Stream.JOINT, any_stream=True)


def test_reads_released_files(tmp_path: Path) -> None:
    """Weights beside an optimizer and accuracies as NumPy scalars; or bare; never by running code of the file."""
    state = export(tiny())
    record = {"weights": {f"module.{name}": value for name, value in state.items()}, "optimizer": {"state": {}}, "lr": 0.1, "epoch": 3}
    record |= {"best_acc": np.float64(0.5), "best_acc_5": np.float32(0.7), "best_accuracy_per_class": np.float64(0.4), "count": np.int64(3)}
    torch.save(record, tmp_path / "full.pt")
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"weights": state, "run": Path}, tmp_path / "code.pt")
    for name in ("full.pt", "bare.pt"):
        assert {key: value.tolist() for key, value in read(tmp_path / name).items()} == {key: value.tolist() for key, value in state.items()}
    with pytest.raises(CheckpointError, match="without running code"):
        read(tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read(tmp_path / "none.pt")


def test_reestimated_statistics_are_those_of_the_clips() -> None:
    network = tiny().eval()
    network.set_keep_probability(0.5)
    batches = [clips(6, seed=seed) * 3 + 1 for seed in range(3)]

    def all_batches() -> Iterator[Tensor]:
        yield from batches

    weights = {name: parameter.clone() for name, parameter in network.named_parameters()}
    assert reestimate_statistics(network, all_batches()) == 3
    rows = torch.stack([batch.flatten(0, 1).flatten(1).mean(0) for batch in batches]).mean(0)
    torch.testing.assert_close(network.input_norm.running_mean, rows, atol=1e-5, rtol=1e-4)
    assert not network.training
    assert network.keep_probability == 0.5
    assert network.input_norm.momentum == 0.1
    assert all(torch.equal(weights[name], parameter) for name, parameter in network.named_parameters())
    with pytest.raises(ValueError, match="no batch"):
        reestimate_statistics(network, [])


def test_class_permutation() -> None:
    order = torch.tensor([2, 0, 1, 4, 3])  # label of each predicted class
    predicted = torch.arange(5).repeat(20)
    labels = order[predicted].clone()
    labels[::10] = 0
    found = class_permutation(predicted, labels, 5)
    assert found is not None
    assert found.tolist() == order.tolist()
    assert class_permutation(labels, labels, 5) is None
    assert class_permutation(torch.randint(5, (100,)), torch.randint(5, (100,)), 5) is None
    partial = class_permutation(torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0]), 4)
    assert partial is not None
    assert partial.tolist() == [1, 0, 2, 3]


def test_fusion_presets() -> None:
    assert published_weights("wlasl", 2000) == {"joint": 1.7, "bone": 0.8, "joint_motion": 0.5, "bone_motion": 0.5}
    assert published_weights("slr500") == published_weights("slr500", 500) == PRESETS["slr500"]
    with pytest.raises(ValueError, match="'wlasl' with 7 classes: there are wlasl2000"):
        published_weights("wlasl", 7)
