"""SingleStream and TwoStream against their naive forms, a clip's independence of its batch mates, freezing, refusals, learning."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.batch import Heads
from models.heads.visual_head import MaskedBatchNorm
from models.losses.auxiliary import PUBLISHED_WEIGHTS, TwoStreamLossOptions, two_stream_losses
from models.recomputation import recompute
from models.s3d.config import S3dOptions
from models.systems import SYSTEMS
from models.twostream.config import SingleStreamOptions, TwoStreamOptions
from models.twostream.heads import StreamHeads, early_logits, ensemble_logits
from models.twostream.network import AUXILIARY_HEADS, HEADS, TwoStream
from models.twostream.published import PREFIX, export_single, export_two_stream
from models.twostream.single_stream import SingleStream
from tests.benchmarks.naive_twostream import naive_single, naive_two_stream
from tests.unit.models.twostream.tiny import HEAD, KEYPOINT, RGB, SINGLE, TWO, heatmap_clips, pictures, single, two

LENGTHS = [16, 8, 12]
TARGETS = torch.tensor([[4, 5], [6, 1], [7, 4]])
TARGET_LENGTHS = torch.tensor([2, 1, 2])
CLOSE = {"atol": 2e-5, "rtol": 1e-4}


def total(heads: Heads, auxiliary: Heads | None) -> Tensor:
    terms = two_stream_losses(heads, auxiliary, TARGETS, TARGET_LENGTHS, TwoStreamLossOptions())
    return torch.stack([PUBLISHED_WEIGHTS.get(name, 1.0) * value for name, value in terms.items()]).sum()


def assert_same_gradients(ours: nn.Module, naive: nn.Module, exported: Any) -> None:
    """Gradients of all parameters and the running statistics, by published name."""
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for kept, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            kept.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    by_name = exported(gradients)
    for name, parameter in naive.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(by_name[PREFIX + name], expected, atol=1e-8, rtol=1e-6, msg=name)
    for name, value in naive.state_dict().items():
        if "running" in name or "tracked" in name:
            torch.testing.assert_close(by_name[PREFIX + name], value, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_two_streams_equal_the_naive_form(training: bool) -> None:
    """Logits of all seven heads, gradients and running statistics, in double precision."""
    ours = two().double().train(training)
    naive = naive_two_stream(ours)
    rgb, maps, lengths = pictures(LENGTHS).double(), heatmap_clips(LENGTHS).double(), torch.tensor(LENGTHS)
    heads = ours.recognise(rgb, maps, lengths, masked=False, auxiliary=True)
    assert heads.auxiliary is not None
    logits = naive(rgb, maps, lengths)
    for name, value in {**heads.logits, **heads.auxiliary.logits}.items():
        torch.testing.assert_close(value, logits[name], msg=name)
    total(heads, heads.auxiliary).backward()
    main = Heads(logits={name: logits[name] for name in HEADS}, lengths=heads.lengths)
    total(main, Heads(logits={name: logits[name] for name in AUXILIARY_HEADS}, lengths=heads.auxiliary.lengths)).backward()
    assert_same_gradients(ours, naive, export_two_stream)


@pytest.mark.parametrize("stream", ["rgb", "keypoint"])
def test_a_single_stream_equals_the_naive_form(stream: str) -> None:
    options = SINGLE if stream == "rgb" else SingleStreamOptions(stream="keypoint", trunk=KEYPOINT, head=HEAD)
    ours = single(options).double().train()
    naive = naive_single(ours)
    clips = (pictures(LENGTHS) if stream == "rgb" else heatmap_clips(LENGTHS, side=32)).double()
    heads = ours.recognise(clips, torch.tensor(LENGTHS))
    logits = naive(clips, torch.tensor(LENGTHS))
    torch.testing.assert_close(heads.logits[stream], logits)
    assert heads.lengths.tolist() == [4, 2, 3]
    heads.logits[stream].square().mean().backward()
    logits.square().mean().backward()
    assert_same_gradients(ours, naive, export_single)


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 5).map(lambda steps: 4 * steps), min_size=2, max_size=3), seed=st.integers(0, 1000))
def test_a_clip_answers_alike_alone_and_among_others(lengths: list[int], seed: int) -> None:
    network = two(seed=seed).eval()
    rgb, maps = pictures(lengths, seed=seed), heatmap_clips(lengths, seed=seed + 1)
    with torch.no_grad():
        together = network.recognise(rgb, maps, torch.tensor(lengths), auxiliary=True)
        for index, length in enumerate(lengths):
            clip = rgb[index : index + 1, :, :length], maps[index : index + 1, :, :length], torch.tensor([length])
            alone = network.recognise(*clip, masked=False, auxiliary=True)
            assert_same_answers(together, alone, index)
            assert together.auxiliary is not None
            assert alone.auxiliary is not None
            assert_same_answers(together.auxiliary, alone.auxiliary, index)


def assert_same_answers(together: Heads, alone: Heads, index: int) -> None:
    steps = int(together.lengths[index])
    assert steps == int(alone.lengths[0]) == next(iter(alone.logits.values())).shape[1]
    for name, value in alone.logits.items():
        torch.testing.assert_close(together.logits[name][index, :steps], value[0], msg=name, **CLOSE)


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 21), min_size=2, max_size=3), seed=st.integers(0, 1000))
def test_a_single_stream_answers_alike_whatever_the_lengths(lengths: list[int], seed: int) -> None:
    """Also for lengths that no sampling yields; then the answer has a step for a part of four frames, as the published one alone has."""
    network = single(seed=seed).eval()
    clips = pictures(lengths, seed=seed)
    with torch.no_grad():
        together = network.recognise(clips, torch.tensor(lengths))
        for index, length in enumerate(lengths):
            assert_same_answers(together, network.recognise(clips[index : index + 1, :, :length], torch.tensor([length]), masked=False), index)


def test_published_form_depends_on_padding() -> None:
    network = two().eval()
    rgb, maps, lengths = pictures(LENGTHS), heatmap_clips(LENGTHS), torch.tensor(LENGTHS)
    with torch.no_grad():
        padded, masked = (network.recognise(rgb, maps, lengths, masked=masked).logits["fuse"][1, :2] for masked in (False, True))
    assert (padded - masked).abs().max() > 1e-3


def test_training_takes_the_published_form_and_the_auxiliary_heads() -> None:
    network = two()
    clips = pictures(LENGTHS), heatmap_clips(LENGTHS), torch.tensor(LENGTHS)
    with torch.no_grad():
        assert network.eval().recognise(*clips).auxiliary is None
        torch.testing.assert_close(network.recognise(*clips).logits, network.recognise(*clips, masked=True, auxiliary=True).logits, rtol=0, atol=0)
        twin = copy.deepcopy(network).train()
        torch.testing.assert_close(network.train().recognise(*clips).logits, twin.recognise(*clips, masked=False, auxiliary=True).logits, rtol=0, atol=0)


def test_two_streams_train_under_autocast() -> None:
    """bf16 changes the loss by its rounding, not more; what is computed again is computed in bf16; weights and gradients stay in single precision."""
    losses, gradients = [], []
    for half, again in ((False, False), (True, False), (True, True)):
        network = two().train()
        if again:
            assert recompute(network, SYSTEMS["twostream_slr"].recomputed) > 0
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            heads = network.recognise(pictures(LENGTHS), heatmap_clips(LENGTHS), torch.tensor(LENGTHS))
            loss = total(heads, heads.auxiliary)
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters() if parameter.requires_grad})
        assert all(gradient is not None and gradient.dtype == torch.float32 and bool(gradient.isfinite().all()) for gradient in gradients[-1].values())
    assert losses[1] == losses[2] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    torch.testing.assert_close(gradients[1], gradients[2])


def test_ensembles_are_the_mean_of_probabilities() -> None:
    with torch.no_grad():
        heads = two().eval().recognise(pictures([8]), heatmap_clips([8]), torch.tensor([8]), auxiliary=True)
        assert heads.auxiliary is not None
        mean = torch.stack([heads.logits[name].softmax(-1) for name in HEADS]).mean(0)
        early = torch.stack([heads.auxiliary.logits[f"{name}_aux_1"].softmax(-1) for name in ("rgb", "keypoint")]).mean(0)
    torch.testing.assert_close(ensemble_logits(heads).softmax(-1), mean)
    torch.testing.assert_close(early_logits(heads).softmax(-1), early)
    with pytest.raises(ValueError, match="auxiliary=True"):
        early_logits(StreamHeads(logits=heads.logits, lengths=heads.lengths))


def test_hard_teaching_and_distillation_without_padding() -> None:
    network = two().eval()
    with torch.no_grad():
        heads = network.recognise(pictures(LENGTHS), heatmap_clips(LENGTHS), torch.tensor(LENGTHS), masked=False)
        soft, hard, own, none = (
            two_stream_losses(heads, None, TARGETS, TARGET_LENGTHS, options)
            for options in (
                TwoStreamLossOptions(),
                TwoStreamLossOptions(teaching="hard"),
                TwoStreamLossOptions(teaching="hard", distil_padding=False),
                TwoStreamLossOptions(distillation=False),
            )
        )
    teacher = ensemble_logits(heads).argmax(-1)
    expected = -heads.logits["rgb"].log_softmax(-1).gather(2, teacher[..., None]).sum() / 3
    torch.testing.assert_close(hard["distil_rgb"], expected)
    assert own["distil_rgb"] < hard["distil_rgb"]
    assert soft.keys() == hard.keys() == {f"{kind}_{name}" for kind in ("ctc", "distil") for name in HEADS}
    assert none.keys() == {f"ctc_{name}" for name in HEADS}


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    network = two().train()
    before = {name: value.clone() for name, value in network.trunks["rgb"].named_buffers()}
    heads = network.recognise(pictures(LENGTHS), heatmap_clips(LENGTHS), torch.tensor(LENGTHS))
    total(heads, heads.auxiliary).backward()
    for name, parameter in network.trunks["rgb"].named_parameters():
        assert (parameter.grad is None) == name.startswith("layers.0."), name
        assert parameter.requires_grad != name.startswith("layers.0."), name
    assert all(parameter.grad is not None for parameter in network.trunks["keypoint"].parameters())
    changed = {name for name, value in network.trunks["rgb"].named_buffers() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if not name.startswith("layers.0.")}


def test_published_freezing_updates_the_statistics_of_frozen_blocks() -> None:
    network = two(TwoStreamOptions(rgb=RGB.model_copy(update={"frozen_statistics": False}), keypoint=KEYPOINT, head=HEAD)).train()
    layer = network.trunks["rgb"].layers[0]
    before = layer.spatial.norm.running_mean.clone()
    network.recognise(pictures([8]), heatmap_clips([8]), torch.tensor([8]))
    assert not torch.equal(layer.spatial.norm.running_mean, before)
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("rgb", "maps", "message"),
    [
        ((1, 4, 8, 32, 32), (1, 5, 8, 16, 16), r"rgb stream reads \(clips, 3, frames"),
        ((1, 3, 8, 32, 32), (1, 6, 8, 16, 16), "keypoint stream reads"),
        ((1, 3, 8, 48, 32), (1, 5, 8, 24, 16), "48×32: height and width must be multiples of 32"),
        ((1, 3, 8, 32, 32), (1, 5, 8, 32, 32), r"\(1, 8, 16, 16\) go with these pictures"),
        ((1, 3, 6, 32, 32), (1, 5, 6, 16, 16), "clips of 6 frames"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(rgb: tuple[int, ...], maps: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        two().recognise(torch.zeros(rgb), torch.zeros(maps), torch.tensor([rgb[2]]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rgb": S3dOptions(num_blocks=3)}, "rgb.num_blocks: 3"),
        ({"rgb": S3dOptions(in_channels=4)}, "rgb.in_channels: 4, pictures have 3"),
        ({"rgb": S3dOptions(width=0.5)}, "the other trunk has 0.5"),
        ({"lateral_blocks": (2, 1)}, "lateral_blocks"),
        ({"lateral_blocks": (4,)}, "lateral_blocks"),
    ],
)
def test_options_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TwoStreamOptions(**values)


def test_streams_without_exchange_are_independent() -> None:
    options = TWO.model_copy(update={"lateral_blocks": ()})
    network = two(options).eval()
    with torch.no_grad():
        first, second = (network.recognise(pictures([8]), heatmap_clips([8], seed=seed), torch.tensor([8])) for seed in (1, 2))
    torch.testing.assert_close(first.logits["rgb"], second.logits["rgb"], rtol=0, atol=0)
    assert (first.logits["keypoint"] - second.logits["keypoint"]).abs().max() > 1e-3


def remember_batch(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
    """Makes the statistics by which a norm has just normalised its running ones, which otherwise hold the unbiased variance of many batches."""
    x = inputs[0]
    rows = x.flatten(0, 1) if isinstance(norm, MaskedBatchNorm) else x.transpose(0, 1).flatten(1).T
    norm.running_mean.copy_(rows.mean(0))  # type: ignore[operator, union-attr]
    norm.running_var.copy_(rows.var(0, correction=0))  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("network", [two(), single(SingleStreamOptions(stream="keypoint", trunk=KEYPOINT, head=HEAD))], ids=["two", "keypoint"])
def test_training_and_evaluation_differ_by_their_statistics_alone(network: TwoStream | SingleStream) -> None:
    """Laterals, pyramid, heads, the folded norms: all are the same function in both forms."""
    network = copy.deepcopy(network).double()
    lengths = torch.tensor([12, 12])
    clips = (pictures([12, 12]).double(), heatmap_clips([12, 12]).double())
    own, asked = (clips, {"auxiliary": True}) if isinstance(network, TwoStream) else (clips[1:], {})
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm2d, MaskedBatchNorm)):
            module.register_forward_hook(remember_batch)
    with torch.no_grad():
        taught = network.train().recognise(*own, lengths)
        for module in network.modules():
            module._forward_hooks.clear()
        answered = network.eval().recognise(*own, lengths, **asked)
    for one, other in ((answered, taught), (answered.auxiliary, taught.auxiliary)):
        for name, logits in () if other is None else other.logits.items():
            torch.testing.assert_close(one.logits[name], logits, msg=name)  # type: ignore[union-attr]
