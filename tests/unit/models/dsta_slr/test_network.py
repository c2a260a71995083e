"""DSTA-SLR against its naive form, a clip's independence of its batch mates, initial values, drop modules, learning."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Heads
from models.dsta_slr.config import DstaOptions
from models.dsta_slr.drop import frame_mask, joint_mask
from models.dsta_slr.inputs import SkeletonInputs
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.published import export
from models.dsta_slr.skeleton import LINKS, adjacency
from models.inputs.clip import Clip
from tests.benchmarks.naive_dsta import naive_twin
from tests.unit.models.dsta_slr.tiny import OPTIONS, clips, signing, tiny

LABELS = torch.tensor([0, 3, 4])


@pytest.mark.parametrize("num_frames", [1, 12, 17])
@pytest.mark.parametrize("training", [False, True])
def test_equals_naive_form(training: bool, num_frames: int) -> None:
    """Logits, gradients of every parameter and running statistics, in double precision."""
    ours = tiny().double().train(training)
    naive = naive_twin(ours)
    skeletons = clips(3, num_frames).double()
    logits, wanted = ours.classify(skeletons), naive(skeletons.permute(0, 3, 1, 2))
    torch.testing.assert_close(logits, wanted)
    F.cross_entropy(logits, LABELS).backward()
    F.cross_entropy(wanted, LABELS).backward()
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for kept, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            assert parameter.grad is not None
            kept.copy_(parameter.grad)
    ours_by_name = export(gradients)
    for name, parameter in naive.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(ours_by_name[name], parameter.grad, atol=1e-9, rtol=1e-7, msg=name)
    for name, value in naive.state_dict().items():
        if "running" in name or "tracked" in name:
            torch.testing.assert_close(ours_by_name[name], value, msg=name)


def test_transforms_and_taps_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    network, skeletons = tiny().double().train(), clips(3, 20).double()
    answers = []
    for pays in (True, False):
        monkeypatch.setattr("models.dsta_slr.functions.transforms_pay", lambda *_, pays=pays: pays)
        answers.append(network.classify(skeletons))
    torch.testing.assert_close(*answers)


def test_plain_operations_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU or in half precision computes the same."""
    own, plain = tiny().double().train(), tiny().double().train()
    skeletons = clips(3).double()
    first = F.cross_entropy(own.classify(skeletons), LABELS)
    monkeypatch.setattr("models.dsta_slr.layers.has_own_kernels", lambda _: False)
    second = F.cross_entropy(plain.classify(skeletons), LABELS)
    torch.testing.assert_close(first, second)
    first.backward()
    second.backward()
    for (name, ours), theirs in zip(own.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-7, msg=name)
    for (name, ours), theirs in zip(own.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, msg=name)


def test_a_clip_does_not_depend_on_its_batch_mates() -> None:
    network, skeletons = tiny().eval(), clips(4, 16)
    with torch.no_grad():
        together = network.classify(skeletons)
        alone = torch.cat([network.classify(clip[None]) for clip in skeletons])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_autocast_trains_and_half_precision_runs() -> None:
    network = tiny().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(network.classify(clips(3)), LABELS)
    loss.backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in network.parameters())
    assert tiny().to(torch.bfloat16).train().classify(clips(3)).dtype == torch.bfloat16


def test_answers_a_batch_by_its_head() -> None:
    batch = SkeletonInputs(window=8).evaluation_batch([Clip(name="a", keypoints=signing(1, 30)[0], frame_size=(512, 512))])
    network = tiny().eval()
    heads: Heads = network(batch)
    assert heads.lengths.tolist() == [1]
    torch.testing.assert_close(heads.logits["sign"], network.classify(batch.keypoints))
    torch.testing.assert_close(network.classifier(heads.features["sign"]), heads.logits["sign"])


def test_published_size_and_initial_values() -> None:
    network = DstaSlr(DstaOptions(), 2000)
    state = export(network)
    assert len(state) == 369
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(8.19e6, rel=1e-3)
    constants = {"san.attention0s": 1 / 27, "san.bn.weight": 1e-6, "san.Linear_bias": 1e-6, "san.edge_weight": 0, "alphas": 1, "conv_ta.weight": 0}
    constants |= {"fc2c.weight": 0, "fc2c.bias": 0, "tcn.branches.1.conv.bias": 0, "san.down.0.bias": 0, "mlp.fc1.bias": 0, "bn0.weight": 1}
    for name, value in constants.items():
        entries = [entry for key, entry in state.items() if key.endswith(name)]
        assert entries, name
        assert all(torch.allclose(entry, torch.tensor(value, dtype=entry.dtype)) for entry in entries), name
    spreads = {
        "layers.3.tcn2.branches.1.conv.weight": math.sqrt(2 / (256 * 7)),
        "layers.3.san.Linear_weight": math.sqrt(0.5 / 256),
        "layers.3.san.mlp.fc2.weight": 0.02,
        "layers.3.san.Edge_conv.edge_features": 0.02,
        "layers.3.conv_sa.weight": math.sqrt(2 / (257 * 27)),
        "layers.3.fc1c.weight": math.sqrt(2 / 256),
        "layers.0.san.down.0.weight": math.sqrt(2 / 64),
        "fc.weight": math.sqrt(2 / 2000),
    }
    for name, spread in spreads.items():
        assert state[name].std().item() == pytest.approx(spread, rel=0.15), name
    assert "layers.0.A" not in dict(network.named_parameters())


def test_adjacency_is_normalised_by_columns() -> None:
    both = adjacency()
    assert both.shape == (27, 27)
    assert both[0, 0] == 1
    assert both[1, 0] == pytest.approx(1 / 2)  # the nose has two children
    assert both[0, 1] == 1
    assert (both - torch.eye(27)).count_nonzero() == 2 * len(LINKS)


def test_drop_modules_keep_their_share() -> None:
    """Of equally strong joints and frames about `keep` are left, seeds take their neighbours along, and the mean factor is 1."""
    torch.manual_seed(0)
    joints = joint_mask(torch.ones(4000, 27, 2), adjacency(), keep=0.9)
    seeded = (1 - 0.1 / 2.92) ** (1 + 2 * len(LINKS) / 27)  # a joint stays where neither it nor a neighbour is a seed
    assert (joints > 0).float().mean().item() == pytest.approx(seeded, abs=0.01)
    assert joints.mean((0, 1)).tolist() == pytest.approx([1, 1], rel=1e-4)
    frames = frame_mask(torch.ones(60, 4000, 2), 5, keep=0.9)
    assert (frames > 0).float().mean().item() == pytest.approx((1 - 0.1 / 5) ** 5, abs=0.01)
    assert frames.mean((0, 1)).tolist() == pytest.approx([1, 1], rel=1e-4)


def test_drop_modules_prefer_strong_joints() -> None:
    torch.manual_seed(0)
    strength = torch.ones(2000, 27, 1)
    strength[:, 20] = 10
    kept = (joint_mask(strength, torch.eye(27), keep=0.8)[..., 0] > 0).float().mean(0)
    assert kept[20] < 0.6 < kept[0]
    assert (joint_mask(torch.zeros(2, 27, 1), torch.eye(27), keep=0.8) > 0).all()


def test_a_batch_that_drops_everything_is_zero_not_nan() -> None:
    masks = frame_mask(torch.ones(3, 1, 1), 3, keep=1e-9), joint_mask(torch.ones(1, 27, 1), 27 * torch.ones(27, 27), keep=1e-9)
    assert all(torch.isfinite(mask).all() for mask in masks)


def test_keep_probability_acts_on_the_last_blocks_in_training_only() -> None:
    network, skeletons = tiny().eval(), clips(3)
    with torch.no_grad():
        before = network.classify(skeletons)
        network.set_keep_probability(0.5)
        assert torch.equal(network.classify(skeletons), before)
        network.train()
        torch.manual_seed(1)
        first = network.classify(skeletons)
        torch.manual_seed(1)
        again = network.classify(skeletons)
        torch.manual_seed(2)
        other = network.classify(skeletons)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert [block.drops for block in network.blocks] == [False, False, True]
    with pytest.raises(ValueError, match="keep probability 0"):
        network.set_keep_probability(0)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="25 joints × 3 channels: this network reads 27 × 3"):
        tiny().classify(torch.zeros(1, 4, 25, 3))
    with pytest.raises(ValueError, match="hold no frame"):
        tiny().classify(torch.zeros(1, 0, 27, 3))
    with pytest.raises(ValueError, match=r"width \(12\) is no multiple"):
        DstaOptions(width=12)
    with pytest.raises(ValueError, match=r"drop_blocks \(3\) is above depth \(2\)"):
        DstaOptions(depth=2, drop_blocks=3)
    with pytest.raises(ValueError, match="must be odd"):
        DstaOptions(temporal_kernels=(4, 7))


def test_loss_of_a_fixed_seed() -> None:
    """A refactored network computes what it did; another machine's matrix products may round otherwise."""
    losses = []
    for _ in range(2):
        network = tiny().train()
        network.set_keep_probability(0.8)
        torch.manual_seed(3)
        losses.append(F.cross_entropy(network.classify(clips(3)), LABELS).item())
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(3.4206104278564453, rel=1e-5)


def test_overfits_eight_clips() -> None:
    torch.manual_seed(0)
    network = DstaSlr(OPTIONS, 8).train()
    skeletons, labels = torch.from_numpy(signing(8, 8)) - torch.tensor([256.0, 150, 0]), torch.arange(8)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.cross_entropy(network.classify(skeletons), labels)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        logits: Tensor = network.classify(skeletons)
    assert logits.argmax(1).equal(labels)
    assert np.isfinite(loss.item())
