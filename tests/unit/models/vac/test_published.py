"""Published names and files: what loads, what is refused and why."""

from __future__ import annotations

import collections
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models.corrnet import published as corrnet
from models.errors import CheckpointError
from models.mstfnet import published as mstfnet
from models.slowfastsign import published as slowfastsign
from models.slowfastsign.backbone import Backbone
from models.slowfastsign.config import SlowFastOptions
from models.slowfastsign.pretrained import entry_name, fitted, load_pretrained, read_blobs
from models.vac.published import read, without_module
from models.vac.resnet import Trunk, depth_of, load_imagenet
from tests.unit.models.vac.tiny import NETWORKS, tiny

MODULES = {"corrnet": corrnet, "mstfnet": mstfnet, "slowfastsign": slowfastsign}
State = dict[str, Tensor]


def same(ours: State, theirs: State) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_exported_weights_load(name: str) -> None:
    source, target = tiny(name, seed=1), tiny(name, seed=2)
    state = MODULES[name].export(source)
    MODULES[name].load(target, {f"module.{key}" if name == "corrnet" else key.replace(".", ".module.", 1): value for key, value in state.items()})
    assert same(source.state_dict(), target.state_dict())
    assert same(without_module(state), state)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: [state.pop(key, None) for key in ("conv2d.alpha", "conv2d.s3_fuse.weight_s")], "missing conv2d"),
        (lambda state: state.pop(next(key for key in state if key.startswith("conv1d.fc"))), "missing conv1d.fc"),
        (lambda state: state.update(head=torch.zeros(1)), "unexpected head"),
        (
            lambda state: state.update({key: torch.zeros(24, 9) for key in state if key.startswith(("conv1d.fc", "classifier"))}),
            "check the widths and the vocabulary",
        ),
        (lambda state: state.update({key: value + 1 for key, value in state.items() if key.startswith("conv1d.fc")}), "separate classifiers"),
    ],
)
def test_refuses_another_checkpoint(name: str, change: Callable[[State], object], message: str) -> None:
    state = MODULES[name].export(tiny(name))
    change(state)
    with pytest.raises(CheckpointError, match=message):
        MODULES[name].load(tiny(name), state)


def test_reads_released_files(tmp_path: Path) -> None:
    """Weights beside an optimizer, a scheduler and the states of random number generators; or bare; never by running code of the file."""
    network = tiny("corrnet")
    state = corrnet.export(network)
    optimizer = torch.optim.Adam(network.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [40, 60], gamma=0.2)
    record = {
        "epoch": 63,
        "model_state_dict": collections.OrderedDict((f"module.{name}", value) for name, value in state.items()),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": scheduler.state_dict(),
        "rng_state": {"torch": torch.get_rng_state(), "cuda": [torch.get_rng_state()], "numpy": np.random.get_state(), "python": random.getstate()},
    }
    torch.save(record, tmp_path / "full.pt")
    torch.save(state, tmp_path / "bare.pt")
    torch.save({"model_state_dict": state, "run": Path}, tmp_path / "code.pt")
    for name in ("full.pt", "bare.pt"):
        assert same(read(tmp_path / name), state)
    with pytest.raises(CheckpointError, match="without running code"):
        read(tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        read(tmp_path / "none.pt")


def test_corrnet_says_which_blocks_a_file_has() -> None:
    state = corrnet.export(tiny("corrnet", stages=(3, 4)))
    assert "conv2d.corr1.weights" not in state
    with pytest.raises(CheckpointError, match=r"after the stages \(3, 4\), this network has them after \(2, 3, 4\): set stages to \(3, 4\)"):
        corrnet.load(tiny("corrnet"), state)
    corrnet.load(tiny("corrnet", stages=(3, 4)), state)


def test_mstfnet_s_earlier_names() -> None:
    source, target = tiny("mstfnet", seed=1), tiny("mstfnet", seed=2)
    state = mstfnet.export(source)
    renamed = {name.replace("conv2d.stf", "conv2d.shift").replace("HFEAM.stse", "CSA.stf").replace("HFEAM.", "csa."): value for name, value in state.items()}
    notes = mstfnet.load(target, renamed)
    assert same(source.state_dict(), target.state_dict())
    assert "conv2d.shift1.t_convs.0.0.weight read as conv2d.stf1.t_convs.0.0.weight" in notes
    assert len(notes) == sum(name not in state for name in renamed)
    assert mstfnet.load(target, state) == []


def test_mstfnet_s_unknown_names_by_place_and_shape() -> None:
    source, target = tiny("mstfnet", seed=1), tiny("mstfnet", seed=2)
    state = {name.replace("conv2d.stf2.st_gate", "conv2d.stf2.door"): value for name, value in mstfnet.export(source).items()}
    notes = mstfnet.load(target, state)
    assert same(source.state_dict(), target.state_dict())
    assert notes[0] == "conv2d.stf2.door.0.weight read as conv2d.stf2.st_gate.0.weight, by its place and shape"
    state["conv2d.stf2.door.2.weight"] = state["conv2d.stf2.door.2.weight"][:1]
    with pytest.raises(CheckpointError, match=r"missing conv2d.stf2.st_gate.0.bias.*unexpected conv2d.stf2.door.0.bias"):
        mstfnet.load(target, state)


def test_mstfnet_s_arrangement_of_attention() -> None:
    shared, separate = tiny("mstfnet", attention="shared", seed=1), tiny("mstfnet", seed=1)
    assert mstfnet.attention_of(mstfnet.export(shared)) == "shared"
    assert mstfnet.attention_of(mstfnet.export(separate)) == "per_level"
    state = mstfnet.export(shared)
    mstfnet.load(separate, state)  # three equal groups
    one = {name: value for name, value in state.items() if "stse1" not in name and "stse3" not in name}
    target = tiny("mstfnet", attention="shared", seed=2)
    mstfnet.load(target, one)
    assert same(shared.state_dict(), target.state_dict())
    with pytest.raises(CheckpointError, match="set attention to per_level"):
        mstfnet.load(target, mstfnet.export(tiny("mstfnet", seed=3)))


def test_imagenet_weights() -> None:
    source, target = Trunk(18, 16), Trunk(18, 16)
    state = dict(source.state_dict()) | {"fc.weight": torch.zeros(1000, 128)}
    load_imagenet(target, state)
    assert same(dict(source.state_dict()), dict(target.state_dict()))
    with pytest.raises(CheckpointError, match="has beyond this depth"):
        load_imagenet(target, dict(Trunk(34, 16).state_dict()))
    with pytest.raises(CheckpointError, match="has another shape of"):
        load_imagenet(target, dict(Trunk(18, 32).state_dict()))
    with pytest.raises(CheckpointError, match=r"lacks bn1.bias"):
        load_imagenet(target, {name: value for name, value in state.items() if name != "bn1.bias"})
    assert depth_of("resnet34") == 34
    with pytest.raises(ValueError, match="'resnet50': resnet18, resnet34 are known"):
        depth_of("resnet50")


@pytest.mark.parametrize(
    ("blob", "entry"),
    [
        ("conv1_w", "s1.pathway0_stem.conv.weight"),
        ("t_res_conv1_bn_riv", "s1.pathway1_stem.bn.running_var"),
        ("res4_22_branch2b_bn_rm", "s4.pathway0_res22.branch2.b_bn.running_mean"),
        ("t_res2_0_branch1_bn_s", "s2.pathway1_res0.branch1_bn.weight"),
        ("t_pool1_subsample_w", "s1_fuse.conv_f2s.weight"),
        ("t_res4_22_branch2c_bn_subsample_bn_b", "s4_fuse.bn.bias"),
        ("nonlocal_conv4_6_theta_w", "nonlocal_conv4_6_theta_w"),
        ("pred_w", "pred_w"),
    ],
)
def test_names_of_the_pretraining_file(blob: str, entry: str) -> None:
    assert entry_name(blob) == entry


def test_shapes_of_the_pretraining_file() -> None:
    ours = torch.rand(4, 6, 1, 3, 3)
    for value, how, expected in (
        (torch.rand(4, 6, 1, 3, 3), "copied", lambda value: value),
        (torch.rand(4, 8, 1, 3, 3), "cut", lambda value: value[:, :6]),
        (torch.rand(4, 5, 1, 3, 3), "filled", lambda value: torch.cat([value, ours[:, 5:]], 1)),
        (torch.rand(4, 6, 5, 3, 3), "copied", lambda value: value[:, :, :1]),
    ):
        result, change = fitted(value, ours)
        assert change == how
        assert result is not None
        assert torch.equal(result, expected(value))
    assert fitted(torch.rand(3, 6, 1, 3, 3), ours) == (None, "left")
    tiled, change = fitted(torch.tensor([1.0, 2.0]), torch.zeros(4))
    assert change == "tiled"
    assert tiled is not None
    assert tiled.tolist() == [1, 2, 1, 2]
    assert fitted(torch.zeros(3), torch.zeros(4)) == (None, "left")


def test_pretraining_file_loads_without_running_its_code(tmp_path: Path) -> None:
    backbone = Backbone(SlowFastOptions(width=16, depth=50))
    blobs = {"conv1_w": np.full((16, 3, 1, 7, 7), 2.0), "res2_0_branch2a_w": np.ones((16, 20, 1, 1)), "pred_w": np.zeros((4, 4)), "lr": np.float32(0.1)}
    path = tmp_path / "slowfast.pkl"
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    report = load_pretrained(backbone, read_blobs(path))
    assert (backbone.stem.slow.weight == 2).all()
    assert report.unused == ("pred_w", "lr")
    assert [(entry.blob, entry.file_shape, entry.shape) for entry in report.cut] == [("res2_0_branch2a_w", (16, 20, 1, 1), (16, 16, 1, 1, 1))]
    assert str(report).startswith("2 entries read (1 cut, 0 repeated), ")
    with pytest.raises(CheckpointError, match="no blob has one of its names"):
        load_pretrained(backbone, {"other": np.zeros(3)})
    path.write_bytes(pickle.dumps({"weights": blobs}))
    with pytest.raises(CheckpointError, match="a dict with the entry 'blobs'"):
        read_blobs(path)
    path.write_bytes(pickle.dumps({"blobs": Path("x")}))
    with pytest.raises(CheckpointError, match="refers to pathlib"):
        read_blobs(path)


def test_texts_of_python_2_are_read(tmp_path: Path) -> None:
    """Python 2 wrote the bytes of an array as a text, which only latin1 gives back."""
    numbers = b"\x00\x00\x80?\x00\x00\x00@\x00\x00@@"
    state = b"(K\x01(K\x03tcnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c" + numbers + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R" + state
    path = tmp_path / "old.pkl"
    path.write_bytes(b"\x80\x02}U\x05blobs}U\x01a" + array + b"ss.")
    assert read_blobs(path)["a"].tolist() == [1.0, 2.0, 3.0]
