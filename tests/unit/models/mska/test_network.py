"""MSKA against its naive form, a clip's independence of its batch mates, published names, refusals, learning."""

from __future__ import annotations

import copy
import re
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.batch import Heads
from models.decoding.greedy import greedy_search
from models.errors import CheckpointError
from models.losses.ctc import recognition_losses
from models.mska.config import BlockShape, MskaOptions
from models.mska.network import HEADS, Mska, ensemble_logits
from models.mska.published import export, load
from models.published.loading import read_checkpoint
from tests.benchmarks.naive_mska import naive_twin
from tests.unit.models.mska.tiny import NUM_CLASSES, OPTIONS, batch, keypoints, tiny

LENGTHS = [20, 12, 8]
TARGETS = torch.tensor([[4, 5], [6, 4], [5, 1]])
TARGET_LENGTHS = torch.tensor([2, 2, 1])


def total(heads: Heads) -> Tensor:
    return torch.stack(list(recognition_losses(heads, TARGETS, TARGET_LENGTHS).values())).sum()


@pytest.mark.parametrize("training", [False, True])
def test_equals_naive_form(training: bool) -> None:
    """Logits, gradients of every parameter and running statistics, in double precision."""
    ours = tiny().double().train(training)
    naive = naive_twin(ours)
    clips = keypoints(LENGTHS).double()
    heads = ours.recognise(clips, torch.tensor(LENGTHS), masked=False)
    logits = naive(clips.permute(0, 3, 1, 2), heads.lengths)
    for name in HEADS:
        torch.testing.assert_close(heads.logits[name], logits[name])
    total(heads).backward()
    total(Heads(logits=logits, lengths=heads.lengths)).backward()
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for kept, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            assert parameter.grad is not None
            kept.copy_(parameter.grad)
    prefix = "recognition_network."
    ours_by_name = export(gradients)
    for name, parameter in naive.named_parameters():
        expected = parameter.grad
        assert expected is not None, name
        torch.testing.assert_close(ours_by_name[prefix + name], expected, atol=1e-9, rtol=1e-7, msg=name)
    for name, value in naive.state_dict().items():
        if "running" in name or "tracked" in name:
            torch.testing.assert_close(ours_by_name[prefix + name], value, msg=name)


def test_padded_joints_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's own kernels on padded joints and PyTorch's on real ones give the same training step."""
    own, plain = tiny().double().train(), tiny().double().train()
    clips, lengths = keypoints(LENGTHS).double(), torch.tensor(LENGTHS)
    first = total(own.recognise(clips, lengths, masked=False))
    monkeypatch.setattr("models.mska.layers.has_own_kernels", lambda _: False)
    second = total(plain.recognise(clips, lengths, masked=False))
    torch.testing.assert_close(first, second)
    first.backward()
    second.backward()
    for (name, ours), theirs in zip(own.named_parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-7, msg=name)


@settings(max_examples=12, deadline=None)
@given(lengths=st.lists(st.integers(1, 16).map(lambda steps: 4 * steps), min_size=2, max_size=4), seed=st.integers(0, 1000))
def test_a_clip_answers_alike_alone_and_among_others(lengths: list[int], seed: int) -> None:
    network = tiny().eval()
    clips = keypoints(lengths, seed)
    with torch.no_grad():
        together = network.recognise(clips, torch.tensor(lengths), masked=True)
        for index, length in enumerate(lengths):
            alone = network.recognise(clips[index : index + 1, :length], torch.tensor([length]), masked=True)
            published = network.recognise(clips[index : index + 1, :length], torch.tensor([length]), masked=False)
            steps = int(together.lengths[index])
            for name in HEADS:
                torch.testing.assert_close(together.logits[name][index, :steps], alone.logits[name][0], atol=2e-5, rtol=1e-4)
                torch.testing.assert_close(alone.logits[name], published.logits[name], atol=2e-5, rtol=1e-4)


def test_published_form_depends_on_padding() -> None:
    network = tiny().eval()
    clips, lengths = keypoints(LENGTHS), torch.tensor(LENGTHS)
    with torch.no_grad():
        padded = network.recognise(clips, lengths, masked=False).logits["fuse"][1, :3]
        alone = network.recognise(clips[1:2, :12], lengths[1:2], masked=False).logits["fuse"][0]
        naive = naive_twin(network)(clips.permute(0, 3, 1, 2), torch.tensor([5, 3, 2]))["fuse"][1, :3]
    assert (padded - alone).abs().max() > 1e-3
    torch.testing.assert_close(padded, naive, atol=2e-5, rtol=1e-4)


def test_masked_is_the_default_of_evaluation_only() -> None:
    network, clips = tiny(), batch(LENGTHS)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(clips).logits, network(clips, masked=True).logits, rtol=0, atol=0)
        torch.testing.assert_close(network.train()(clips).logits, copy.deepcopy(network)(clips, masked=False).logits, rtol=0, atol=0)


def test_one_step_clip_trains() -> None:
    """Clips so short that taps of the temporal convolutions lie outside."""
    heads = tiny().train().recognise(keypoints([4, 4]), torch.tensor([4, 4]), masked=False)
    assert all(torch.isfinite(value).all() for value in heads.logits.values())


def test_autocast_trains() -> None:
    network = tiny().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heads = network(batch(LENGTHS))
        loss = total(heads)
    loss.backward()
    assert all(parameter.grad is not None and torch.isfinite(parameter.grad).all() for parameter in network.parameters())


def test_half_precision_runs() -> None:
    heads = tiny().to(torch.bfloat16).train()(batch(LENGTHS))
    assert heads.logits["fuse"].dtype == torch.bfloat16


def test_state_dict_names_and_shapes() -> None:
    shapes = {name: tuple(value.shape) for name, value in tiny().state_dict().items()}
    assert len(shapes) == 648
    block = {name.removeprefix("streams.body.blocks.1."): shape for name, shape in shapes.items() if name.startswith("streams.body.blocks.1.")}
    norms = [f"{part}_norm" for part in ("attention", "feedforward", "temporal")] + [
        f"{part}_shortcut.norm" for part in ("attention", "feedforward", "temporal")
    ]
    assert {name for name in block if "norm" in name} == {
        f"{norm}.{entry}" for norm in norms for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    }
    assert {name: shape for name, shape in block.items() if "norm" not in name} == {
        "attention.alpha": (2,),
        "attention.base": (2, 9, 9),
        "attention.query_key.weight": (8, 4),
        "attention.query_key.bias": (8,),
        "attention.out.weight": (6, 8),
        "attention.out.bias": (6,),
        "feedforward.weight": (6, 6),
        "feedforward.bias": (6,),
        "temporal.weight": (6, 6, 3),
        "temporal.bias": (6,),
        "attention_shortcut.conv.weight": (6, 4),
        "attention_shortcut.conv.bias": (6,),
        "feedforward_shortcut.conv.weight": (6, 4),
        "feedforward_shortcut.conv.bias": (6,),
        "temporal_shortcut.conv.weight": (6, 6),
        "temporal_shortcut.conv.bias": (6,),
    }
    head = {name.removeprefix("heads.left.") for name in shapes if name.startswith("heads.left.") and not re.search(r"running|tracked", name)}
    parts = ("input", "input_norm", "ff_norm", "ff_in", "ff_out", "output_norm", "classifier")
    assert head == {f"{part}.{entry}" for part in parts for entry in ("weight", "bias")}


def test_published_size() -> None:
    network = Mska(MskaOptions(), 1094)
    assert len(export(network)) == 1216
    assert sum(parameter.numel() for parameter in network.parameters()) == pytest.approx(44.16e6, rel=1e-3)


def test_published_round_trip() -> None:
    source, target = tiny(seed=1), tiny(seed=2)
    load(target, export(source))
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("recognition_network.body_visual_head.fc1.bias"), "missing recognition_network.body_visual_head.fc1.bias"),
        (lambda state: state.update(other=torch.zeros(1)), "unexpected other"),
        (
            lambda state: state.update({"recognition_network.body_visual_head.gloss_output_layer.bias": torch.zeros(9)}),
            r"gloss_output_layer\.bias: shape \(9,\), this network has \(7,\)",
        ),
        (lambda state: state.update({"recognition_network.fuse_visual_head.fc1.weight": torch.zeros(12, 18)}), "18 features: an early revision"),
    ],
)
def test_refuses_another_checkpoint(change: object, message: str) -> None:
    state = export(tiny())
    assert callable(change)
    change(state)
    with pytest.raises(CheckpointError, match=message):
        load(tiny(), state)


def test_refuses_what_is_no_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("checkpoints")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read_checkpoint(folder / "best.pth")
    (folder / "best.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        read_checkpoint(folder / "best.pth")


def test_refuses_long_clips_and_other_layouts() -> None:
    with pytest.raises(ValueError, match=r"68 frames.*end at 64"):
        tiny().recognise(keypoints([68]), torch.tensor([68]), masked=True)
    with pytest.raises(ValueError, match="17 keypoints: this network reads 16"):
        tiny().recognise(keypoints([8], num_keypoints=17), torch.tensor([8]), masked=True)


def test_options_refuse_contradictions() -> None:
    with pytest.raises(ValueError, match="6 output channels is followed by one of 4"):
        MskaOptions(blocks=(BlockShape(4, 6, 2, 3, 1), BlockShape(4, 4, 2, 3, 1)))
    with pytest.raises(ValueError, match="left: keypoint 100 is outside the 100 keypoints"):
        MskaOptions(num_keypoints=100)


def test_ensemble_adds_probabilities() -> None:
    with torch.no_grad():
        heads = tiny().eval()(batch(LENGTHS))
    mean = torch.stack([value.softmax(-1) for value in heads.logits.values()]).mean(0)
    torch.testing.assert_close(ensemble_logits(heads).softmax(-1), mean)


def test_loss_of_a_fixed_seed() -> None:
    """A refactored network computes what it did; another machine's matrix products may round otherwise."""
    losses = []
    for _ in range(2):
        network = tiny(dropout=True).train()
        torch.manual_seed(3)
        losses.append(total(network(batch(LENGTHS))).item())
    assert losses[0] == losses[1]
    assert losses[0] == pytest.approx(22.998260498046875, rel=1e-6)


def test_overfits_four_clips() -> None:
    """Every head and greedy decoding give the glosses of four clips after some steps."""
    network = tiny(seed=4).train()
    lengths = [40, 36, 40, 32]
    clips = batch(lengths, seed=5)
    sentences = [(4, 5, 6), (6, 4), (5, 6, 5), (3, 4)]
    targets = torch.tensor([[*sentence, *[1] * (3 - len(sentence))] for sentence in sentences])
    target_lengths = torch.tensor([len(sentence) for sentence in sentences])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    history = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.stack(list(recognition_losses(network(clips), targets, target_lengths).values())).sum()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.1 * history[0]
    with torch.no_grad():
        heads = network(clips)
    for logits in [ensemble_logits(heads), *heads.logits.values()]:
        assert [labels for labels, _ in greedy_search(logits, heads.lengths)] == sentences


def test_output_lengths() -> None:
    network = Mska(OPTIONS, NUM_CLASSES)
    lengths = network.output_lengths(torch.arange(1, 65))
    assert all(after - before in (0, 1) for before, after in pairwise(lengths.tolist()))
    assert torch.equal(network.output_lengths(torch.tensor([4, 64])), torch.tensor([1, 16]))
