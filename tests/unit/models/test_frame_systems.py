"""Systems that read frames, as trainer, bundle and service use them: through their inputs, by their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.batch import Batch
from models.corrnet import published as corrnet_published
from models.corrnet.network import CorrNet
from models.errors import CheckpointError
from models.inputs.clip import Clip
from models.inputs.frames import Pictures
from models.losses.options import LossOptions
from models.mstfnet import published as mstfnet_published
from models.mstfnet.network import MstfNet
from models.slowfastsign import published as slowfastsign_published
from models.slowfastsign.network import SlowFastSign
from models.system import FileStart
from models.systems import SYSTEMS
from models.vac.inputs import FrameInputs
from tests.unit.models.vac.tiny import NETWORKS, NUM_CLASSES, SIZE, draw

OPTIONS: dict[str, dict[str, Any]] = {
    "corrnet": {"frame_size": SIZE, "hidden_size": 24, "width": 16},
    "mstfnet": {"frame_size": SIZE, "hidden_size": 24, "width": 16, "depth": 18, "level_size": 20},
    "slowfastsign": {"frame_size": SIZE, "hidden_size": 24, "width": 16, "depth": 50},
}
INPUTS = FrameInputs(size=SIZE + 4, crop=SIZE, least_frames=8)
EXPORT: dict[str, Callable[[Any], dict[str, torch.Tensor]]] = {
    "corrnet": corrnet_published.export,
    "mstfnet": mstfnet_published.export,
    "slowfastsign": slowfastsign_published.export,
}


def network_of(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    system = SYSTEMS[name]
    network = system.build(system.options.model_validate(OPTIONS[name]), NUM_CLASSES)
    draw(network)
    return network


def clip(num_frames: int, seed: int) -> Clip:
    pictures = np.random.default_rng(seed).integers(0, 256, (num_frames, 30, 44, 3), dtype=np.uint8)
    return Clip(name=f"clip{seed}", keypoints=np.zeros((num_frames, 0, 3), np.float32), frames=Pictures(array=pictures), frame_size=(44, 30))


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=3, deadline=None)
@given(lengths=st.lists(st.integers(5, 24), min_size=2, max_size=3))
def test_a_clip_answers_alike_alone_and_among_others(name: str, lengths: list[int]) -> None:
    network = network_of(name).eval()
    clips = [clip(length, seed) for seed, length in enumerate(lengths)]
    with torch.no_grad():
        together = network(INPUTS.on_device(INPUTS.evaluation_batch(clips)))
        for row, each in enumerate(clips):
            alone = network(INPUTS.on_device(INPUTS.evaluation_batch([each])))
            steps = int(alone.lengths)
            assert together.lengths[row] == steps == network.options.num_steps(len(INPUTS.evaluation_frames(each.num_frames)))  # type: ignore[operator, union-attr]
            for head, logits in SYSTEMS[name].all_logits(alone).items():
                torch.testing.assert_close(together.logits[head][row, :steps], logits[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_have_the_names_that_recipes_weigh(name: str) -> None:
    system = SYSTEMS[name]
    batch = INPUTS.on_device(INPUTS.training_batch([clip(12, 0), clip(16, 1)], [12, 16], np.random.default_rng(0)))
    batch = Batch(**{**vars(batch), "targets": torch.tensor([[1, 2], [3, 0]]), "target_lengths": torch.tensor([2, 1])})
    terms = system.make_loss(system.losses(), ())(network_of(name).train()(batch), batch)
    assert terms.keys() == system.loss_terms
    assert all(value.isfinite() for value in terms.values())
    without = system.make_loss(system.losses.model_validate({"distillation": False}), ())(network_of(name).train()(batch), batch)
    assert without.keys() == {term for term in system.loss_terms if term.startswith("ctc_")}


def test_published_weights_are_the_defaults_and_each_can_be_changed() -> None:
    slow_fast = SYSTEMS["slowfastsign"].losses
    assert slow_fast().weights == {
        "distil_conv": 25.0,
        "ctc_slow_sequence": 0.25,
        "ctc_slow_conv": 0.25,
        "ctc_fast_sequence": 0.25,
        "ctc_fast_conv": 0.25,
        "distil_slow_conv": 6.25,
        "distil_fast_conv": 6.25,
    }
    changed = SYSTEMS["corrnet"].losses.model_validate({"weights": {"ctc_conv": 0.5}})
    assert changed.weights == {"distil_conv": 25.0, "ctc_conv": 0.5}
    assert SYSTEMS["mska_slr"].losses().weights == LossOptions().weights == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_released_checkpoints_load_by_name(name: str, tmp_path: Path) -> None:
    source, target = network_of(name, seed=1), network_of(name, seed=2)
    state = EXPORT[name](source)
    torch.save(
        {"epoch": 3, "model_state_dict": state, "rng_state": {"torch": torch.get_rng_state(), "numpy": np.random.default_rng(0).random(3)}}, tmp_path / "a.pt"
    )
    SYSTEMS[name].load_published(target, tmp_path / "a.pt", INPUTS, False)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key
    lacking = next(key for key in state if key.startswith(("conv2d.layer1", "conv2d.s2")))
    torch.save({"model_state_dict": {key: value for key, value in state.items() if key != lacking} | {"extra.weight": torch.zeros(1)}}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match=rf"missing {lacking}; unexpected extra\.weight"):
        SYSTEMS[name].load_published(target, tmp_path / "b.pt", INPUTS, False)


def resnet_file(network: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    trunk = network.get_submodule("backbone").state_dict()
    state = {name: torch.randn_like(value.float()) for name, value in trunk.items() if name.startswith(("conv1.", "bn1.", "layer"))}
    torch.save(state | {"fc.weight": torch.zeros(3, 3)}, path)
    return state


@pytest.mark.parametrize("name", ["corrnet", "mstfnet"])
def test_training_starts_from_an_imagenet_file(name: str, tmp_path: Path) -> None:
    network = network_of(name)
    assert isinstance(network, CorrNet | MstfNet)
    state = resnet_file(network, tmp_path / "resnet.pth")
    start = SYSTEMS[name].starts["backbone"]
    assert isinstance(start, FileStart)
    assert start.fill(network, tmp_path / "resnet.pth") == "the backbone's stem and stages are those of the file"
    assert torch.equal(network.backbone.conv1.weight, state["conv1.weight"])
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        start.fill(network, tmp_path / "none.pth")


def test_slowfastsign_starts_from_the_kinetics_file(tmp_path: Path) -> None:
    network = network_of("slowfastsign")
    assert isinstance(network, SlowFastSign)
    import pickle

    stem = np.random.default_rng(0).standard_normal((16, 3, 1, 7, 7)).astype(np.float32)
    (tmp_path / "slowfast.pkl").write_bytes(pickle.dumps({"blobs": {"conv1_w": stem, "pred_w": np.zeros((2, 2), np.float32)}}))
    start = SYSTEMS["slowfastsign"].starts["backbone"]
    assert isinstance(start, FileStart)
    assert start.fill(network, tmp_path / "slowfast.pkl").startswith("1 entries read (0 cut, 0 repeated)")
    np.testing.assert_array_equal(network.backbone.stem.slow.weight.detach(), stem[:, :, 0])
