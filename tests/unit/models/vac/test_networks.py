"""CorrNet, MSTFNet and SlowFastSign against their naive forms; a clip's independence of its batch mates; refusals; learning."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.batch import Heads
from models.corrnet.correlation import correlate
from models.losses.alignment import alignment_losses
from models.vac.frames import UNIT
from models.vac.layers import normed
from tests.benchmarks.naive_vac import naive_twin
from tests.unit.models.vac.tiny import NETWORKS, NUM_CLASSES, SIZE, Frames, Network, clips, draw, tiny

LENGTHS = [13, 6, 9]
TARGETS, TARGET_LENGTHS = torch.tensor([[2, 5], [3, 0], [1, 0]]), torch.tensor([2, 1, 1])
TEACHERS = {"conv": "sequence", "slow_conv": "slow_sequence", "fast_conv": "fast_sequence"}
AUXILIARY = {
    "corrnet": set(),
    "mstfnet": {"level1", "level2", "level3"},
    "slowfastsign": {"slow_sequence", "slow_conv", "fast_sequence", "fast_conv"},
}


def padded(network: Network, lengths: list[int], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Normalised frames with their padding, and padded lengths."""
    counts, layout = torch.tensor(lengths), network.options.layout
    pixels = clips(lengths, seed=seed)
    frames = torch.stack([clip[places] for clip, places in zip(pixels, layout.frame_index(counts), strict=True)])
    return UNIT(frames, next(network.parameters()).dtype), layout.padded_length(counts)


def total(logits: Mapping[str, Tensor], lengths: Tensor) -> Tensor:
    heads = Heads(logits=logits, lengths=lengths)
    return torch.stack(list(alignment_losses(heads, TARGETS, TARGET_LENGTHS, teachers=TEACHERS).values())).sum()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_naive_form(name: str, training: bool) -> None:
    """Logits, gradients of every parameter and running statistics, in double precision."""
    ours = tiny(name).double().train(training)
    naive = naive_twin(ours)
    frames, lengths = padded(ours, LENGTHS)
    heads = recognise(ours, frames, lengths, masked=False, auxiliary=True)
    logits = naive(frames, lengths)
    assert heads.logits.keys() == logits.keys()
    for head in logits:
        torch.testing.assert_close(heads.logits[head], logits[head], msg=head)
    total(heads.logits, heads.lengths).backward()
    total(logits, heads.lengths).backward()
    gradients = copy.deepcopy(ours)
    with torch.no_grad():
        for kept, parameter in zip(gradients.parameters(), ours.parameters(), strict=True):
            kept.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    by_name = naive_twin(gradients).state_dict()
    statistics = naive_twin(ours).state_dict()
    for key, parameter in naive.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(by_name[key], expected, atol=1e-9, rtol=1e-6, msg=key)
    for key, value in naive.state_dict().items():
        if "running" in key or "tracked" in key:
            torch.testing.assert_close(statistics[key], value, msg=key)


@pytest.mark.parametrize("fusion", ["bi_add2", "bi_cat", "fast_to_slow"])
def test_other_fusions_equal_their_naive_form(fusion: str) -> None:
    ours = tiny("slowfastsign", fusion=fusion).double().train()
    naive = naive_twin(ours)
    frames, lengths = padded(ours, LENGTHS)
    logits = naive(frames, lengths)
    torch.testing.assert_close(dict(recognise(ours, frames, lengths, masked=False, auxiliary=True).logits), logits)
    whole, alone = (recognise(ours.eval(), frames[:count], lengths[:count], masked=True).logits["conv"][0] for count in (3, 1))
    torch.testing.assert_close(whole, alone)


def recognise(network: Network, frames: Tensor, lengths: Tensor, *, masked: bool, auxiliary: bool = False) -> Heads:
    if network.__class__.__name__ == "CorrNet":
        return network.recognise(frames, lengths, masked=masked)
    return network.recognise(frames, lengths, masked=masked, auxiliary=auxiliary)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=4, deadline=None)
@given(lengths=st.lists(st.integers(5, 24), min_size=2, max_size=3), seed=st.integers(0, 1000))
def test_a_clip_answers_alike_alone_and_among_others(name: str, lengths: list[int], seed: int) -> None:
    network = tiny(name).eval()
    pixels = clips(lengths, seed=seed)
    with torch.no_grad():
        together = network(Frames(pixels, torch.tensor(lengths)))
        for index, length in enumerate(lengths):
            clip = Frames(pixels[index : index + 1, :length], torch.tensor([length]))
            alone, published = network(clip), network(clip, masked=False)
            steps = int(together.lengths[index])
            assert steps == alone.lengths.item() == -(-length // 4)
            for head in ("sequence", "conv"):
                torch.testing.assert_close(together.logits[head][index, :steps], alone.logits[head][0], atol=1e-4, rtol=1e-3)
                torch.testing.assert_close(alone.logits[head], published.logits[head], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_auxiliary_heads_don_t_depend_on_batch_mates_either(name: str) -> None:
    network = tiny(name).eval()
    frames, lengths = padded(network, [17, 8])
    with torch.no_grad():
        together = recognise(network, frames, lengths, masked=True, auxiliary=True)
        alone = recognise(network, frames[1:, : int(lengths[1])], lengths[1:], masked=True, auxiliary=True)
    for head in AUXILIARY[name]:
        torch.testing.assert_close(together.logits[head][1, :2], alone.logits[head][0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_form_depends_on_padding(name: str) -> None:
    network = tiny(name).eval()
    batch = Frames(clips([24, 6]), torch.tensor([24, 6]))
    with torch.no_grad():
        own, published = (network(batch, masked=masked).logits["sequence"][1, :2] for masked in (True, False))
    assert (own - published).abs().max() > 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_and_form_by_mode(name: str) -> None:
    network, batch = tiny(name), Frames(clips(LENGTHS), torch.tensor(LENGTHS))
    with torch.no_grad():
        answered = network.eval()(batch)
        assert list(answered.logits) == ["sequence", "conv"]
        torch.testing.assert_close(answered.logits, network(batch, masked=True).logits, rtol=0, atol=0)
        trained = copy.deepcopy(network).train()(batch)
        assert set(trained.logits) == {"sequence", "conv"} | AUXILIARY[name]
        torch.testing.assert_close(trained.logits, network.train()(batch, masked=False).logits, rtol=0, atol=0)
    assert answered.lengths.tolist() == [4, 2, 3]
    for logits in trained.logits.values():
        assert logits.shape == (3, 4, NUM_CLASSES)
    assert not trained.logits["sequence"][1, 2:].any()  # beyond a clip's end the BiLSTM says nothing


@pytest.mark.parametrize(
    ("name", "options"), [("corrnet", {"stages": (3, 4)}), ("mstfnet", {"attention": "shared"}), ("slowfastsign", {"share_classifier": "all"})]
)
@pytest.mark.parametrize("weight_norm", [False, True])
def test_other_architectures_train(name: str, options: dict[str, object], weight_norm: bool) -> None:
    network = tiny(name, weight_norm=weight_norm, **options).train()
    heads = network(Frames(clips(LENGTHS), torch.tensor(LENGTHS)))
    total(heads.logits, heads.lengths).backward()
    unused = {parameter for parameter, value in network.named_parameters() if value.grad is None}
    assert unused == ({"levels.unused.weight", "levels.unused.bias"} if name == "mstfnet" else set())


@pytest.mark.parametrize("name", NETWORKS)
def test_separate_classifiers(name: str) -> None:
    network = tiny(name, share_classifier="none" if name == "slowfastsign" else False).train()
    heads = network(Frames(clips(LENGTHS), torch.tensor(LENGTHS)))
    total(heads.logits, heads.lengths).backward()
    assert any(parameter.startswith("conv_classifier") for parameter, value in network.named_parameters() if value.grad is not None)


@pytest.mark.parametrize("name", NETWORKS)
def test_refusals(name: str) -> None:
    network = tiny(name).eval()
    with pytest.raises(ValueError, match="a batch without frames"):
        network(Frames(None, torch.tensor([4])))
    with pytest.raises(ValueError, match=rf"this network reads \(clips, frames, 3, {SIZE}, {SIZE}\)"):
        network(Frames(torch.zeros(1, 8, 3, 64, 64, dtype=torch.uint8), torch.tensor([8])))
    with pytest.raises(ValueError, match="too short for this network: it takes"):
        network.recognise(torch.zeros(1, 12, 3, SIZE, SIZE), torch.tensor([12]), masked=True)


def test_mstfnet_refuses_a_clip_of_four_frames() -> None:
    with pytest.raises(ValueError, match="16 frames with its padding is too short for this network: it takes 20, which is 5 without padding"):
        tiny("mstfnet").eval()(Frames(clips([20, 4]), torch.tensor([20, 4])))


def test_slowfast_says_what_it_cant_divide() -> None:
    network = tiny("slowfastsign", conv_type=1).eval()
    with pytest.raises(ValueError, match="14 frames with padding: the slow pathway needs a multiple of 4"):
        network(Frames(clips([9]), torch.tensor([9])))


def test_unknown_options_are_refused() -> None:
    for name, options, message in (
        ("corrnet", {"conv_type": 11}, "conv_type 11 is none of 0, 1"),
        ("corrnet", {"stages": (4, 3)}, "some of 2, 3, 4 in this order"),
        ("mstfnet", {"conv_type": 5}, "conv_type 5: the auxiliary levels"),
    ):
        with pytest.raises(ValueError, match=message):
            tiny(name, **options)


def test_correlation_gradients() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 5, 3, dtype=torch.double, requires_grad=True), torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(correlate(x, y), (torch.sigmoid(x @ y.transpose(1, 2)) - 0.5) @ y)
    assert torch.autograd.gradcheck(correlate, (x, y))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_residual", [False, True])
def test_fused_norm_is_the_modules(relu: bool, with_residual: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3).double()
    draw(norm)
    plain = copy.deepcopy(norm)
    z, residual = (torch.randn(2, 3, 4, 5, dtype=torch.double, requires_grad=True) for _ in range(2))
    other = residual if with_residual else None
    out = normed(norm, z, other, relu=relu)
    expected = plain(z) if other is None else plain(z) + other
    expected = expected.relu() if relu else expected
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(dict(norm.named_buffers()), dict(plain.named_buffers()))
    inputs = [z, *((residual,) if with_residual else ())]
    weights = torch.randn_like(out)
    ours = torch.autograd.grad((out * weights).sum(), [*inputs, *norm.parameters()])
    torch.testing.assert_close(ours, torch.autograd.grad((expected * weights).sum(), [*inputs, *plain.parameters()]))


@pytest.mark.parametrize("name", NETWORKS)
def test_trains_under_autocast(name: str) -> None:
    network = tiny(name).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        heads = network(Frames(clips(LENGTHS), torch.tensor(LENGTHS)))
        loss = total(heads.logits, heads.lengths)
    loss.backward()
    assert loss.isfinite()
    assert all(value.grad is not None and value.grad.isfinite().all() for key, value in network.named_parameters() if "unused" not in key)


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_can_be_synchronised(name: str) -> None:
    """PyTorch's conversion finds every batch norm of ours; that the converted ones run takes several GPUs to see."""
    network = tiny(name)
    norms = [key for key, module in network.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    converted = dict(nn.SyncBatchNorm.convert_sync_batchnorm(network).named_modules())
    assert norms
    assert all(isinstance(converted[key], nn.SyncBatchNorm) for key in norms)
