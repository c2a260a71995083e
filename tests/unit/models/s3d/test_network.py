"""The trunk against its naive form, its sizes, freezing, published names, pretrained files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import CheckpointError
from models.published.loading import read_checkpoint
from models.s3d.config import S3dOptions
from models.s3d.layers import Ends, MaxPool, laid_out
from models.s3d.network import S3d
from models.s3d.published import FIRST, export, load, load_pretrained
from tests.benchmarks.naive_s3d import naive_twin
from tests.unit.models.s3d.tiny import tiny


@pytest.mark.parametrize(("training", "stride"), [(False, 1), (False, 2), (True, 1)])
def test_all_blocks_equal_the_naive_form(training: bool, stride: int) -> None:
    """Output of every layer, gradients and statistics, in double precision."""
    ours = tiny(num_blocks=5, last_stride=stride).double().train(training)
    naive = naive_twin(ours)
    clip = torch.rand(2, 3, 8, 40, 32, dtype=torch.float64) * 2 - 1
    seen: list[Tensor] = []
    for layer in ours.layers:
        layer.register_forward_hook(lambda *call: seen.append(call[2]))
    ours(clip)[0].square().sum().backward()
    expected = naive(clip)
    expected[-1].square().sum().backward()
    for index, (own, wanted) in enumerate(zip(seen, expected, strict=True)):
        torch.testing.assert_close(own, wanted, msg=f"layer {index}")
    grads = {name: parameter.grad for name, parameter in naive.named_parameters()}
    for (name, wanted), parameter in zip(export(ours).items(), ours.state_dict(keep_vars=True).values(), strict=True):
        if parameter.requires_grad:
            assert parameter.grad is not None
            wanted_grad = grads[name]
            assert wanted_grad is not None
            torch.testing.assert_close(parameter.grad.flatten(), wanted_grad.flatten(), atol=1e-7 * float(wanted_grad.abs().max()), rtol=1e-5, msg=name)
        torch.testing.assert_close(wanted, naive.state_dict()[name], msg=name)


def test_published_sizes() -> None:
    options = S3dOptions(num_blocks=5)
    assert options.block_channels == (64, 192, 480, 832, 1024)
    assert len(export(S3d(options))) == 462
    assert sum(parameter.numel() for parameter in S3d(S3dOptions()).parameters()) == pytest.approx(4.73e6, rel=1e-2)
    trunk, sizes = tiny().eval(), []
    x = torch.zeros(1, 3, 32, 224, 224)
    with torch.no_grad():
        for block in (1, 2, 3, 4):
            x, _ = trunk.block(block, x)
            sizes.append(tuple(x.shape[2:]))
    assert sizes == [(16, 112, 112), (16, 56, 56), (16, 28, 28), (8, 14, 14)]


def test_features_lie_with_the_channels_last_also_for_one_clip() -> None:
    with torch.no_grad():
        features, _ = tiny(width=1 / 4)(torch.rand(1, 3, 16, 64, 64))
    assert features.is_contiguous(memory_format=torch.channels_last_3d)


LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)


@pytest.mark.parametrize("shape", [(1, 3, 4, 5, 6), (2, 64, 4, 8, 8), (1, 1, 3, 4, 5), (3, 7, 1, 1, 1), (0, 3, 4, 5, 6)])
@pytest.mark.parametrize("own", LAYOUTS)
def test_layouts_are_pytorchs_own(shape: tuple[int, ...], own: torch.memory_format) -> None:
    plain = torch.randn(shape)
    for x in (plain, plain.contiguous(memory_format=torch.channels_last_3d), plain.transpose(3, 4), plain[:, :, ::2]):
        found, expected = laid_out(x, own), x.contiguous(memory_format=own)
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()


def test_a_pool_sees_nothing_beyond_a_clip_of_negative_features() -> None:
    x, lengths = -1 - torch.rand(2, 4, 6, 5, 5), torch.tensor([6, 3])
    pool = MaxPool((3, 3), stride=(2, 2), padding=(1, 1))
    together = pool(x, Ends(lengths=lengths))
    torch.testing.assert_close(together[1:, :, :2], pool(x[1:, :, :3], Ends()))
    torch.testing.assert_close(together[:1], pool(x[:1], Ends()))
    ends = pool.ends(Ends(lengths=lengths))
    assert ends.lengths is not None
    assert ends.lengths.tolist() == [3, 2]
    assert not together[1, :, 2:].any()


def test_frozen_blocks_follow_their_option() -> None:
    for frozen, layers in ((0, 0), (1, 1), (2, 4), (3, 7), (4, 13)):
        trunk = tiny(frozen_blocks=frozen).train()
        assert [layer.training for layer in trunk.layers] == [False] * layers + [True] * (13 - layers)
        assert [next(layer.parameters()).requires_grad for layer in trunk.layers if list(layer.parameters())].count(True) == {0: 10, 1: 9, 4: 7, 7: 5, 13: 0}[
            layers
        ]
        assert not any(module.training for module in trunk.eval().modules())
    with pytest.raises(ValueError, match="frozen_blocks: 3 of a trunk of 2 blocks"):
        S3dOptions(num_blocks=2, frozen_blocks=3)


def pretrained(prefix: str) -> dict[str, Tensor]:
    """As the released files: all five blocks and a classifier."""
    state = {f"{prefix}{name}": value for name, value in export(tiny(7, num_blocks=5)).items()}
    return state | {f"{prefix}fc.0.weight": torch.zeros(4, 64, 1, 1, 1)}


@pytest.mark.parametrize("prefix", ["module.", "backbone.", "", "recognition_network.visual_backbone.backbone."])
def test_pretrained_files_load_under_every_prefix(prefix: str) -> None:
    trunk = tiny()
    told = load_pretrained(trunk, pretrained(prefix))
    assert told.endswith(" entries of the file left out (base.14, base.15, fc)")
    wanted = export(tiny(7, num_blocks=5))
    assert all(torch.equal(value, wanted[name]) for name, value in export(trunk).items())


def test_heatmap_trunks_keep_a_random_first_convolution() -> None:
    trunk = tiny(in_channels=79)
    before = export(trunk)[FIRST].clone()
    assert f"{FIRST} stays random: 79 channels here, 3 in the file" in load_pretrained(trunk, pretrained("module."))
    assert torch.equal(export(trunk)[FIRST], before)
    assert torch.equal(export(trunk)["base.3.conv_t.weight"], pretrained("")["base.3.conv_t.weight"])


def without(name: str) -> Callable[[dict[str, Tensor]], None]:
    def drop(state: dict[str, Tensor]) -> None:
        del state[name]

    return drop


def narrower(state: dict[str, Tensor]) -> None:
    state["module.base.2.conv.weight"] = state["module.base.2.conv.weight"][:2]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (without("module.base.12.branch3.1.bn.bias"), "missing base.12.branch3.1.bn.bias"),
        (without(f"module.{FIRST}"), "holds 0 entries that end in base.0.conv_s.weight"),
        (narrower, "base.2.conv.weight: shape"),
    ],
)
def test_pretrained_files_that_do_not_fit_are_refused(alter: Callable[[dict[str, Tensor]], None], message: str) -> None:
    state = pretrained("module.")
    alter(state)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(tiny(), state)


def test_a_trunk_alone_is_loaded_strictly(tmp_path: Path) -> None:
    ours, other = tiny(), tiny(3)
    torch.save({"state_dict": export(other)}, tmp_path / "trunk.pth.tar")
    load(ours, read_checkpoint(tmp_path / "trunk.pth.tar", key="state_dict"))
    assert all(torch.equal(value, wanted) for value, wanted in zip(ours.state_dict().values(), other.state_dict().values(), strict=True))
    with pytest.raises(CheckpointError, match=r"unexpected base\.14"):
        load(ours, export(tiny(num_blocks=5)))
