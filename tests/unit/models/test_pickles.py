"""The restricted unpickler: what published files hold loads, everything else is refused by its name."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.errors import CorpusError
from models.pickles import load_pickle


def dumped(path: Path, value: Any, protocol: int | None = None) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


class Runs:
    """Pickles as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_a_published_split_load(tmp_path: Path, dtype: torch.dtype, protocol: int) -> None:
    base = torch.randn(7, 133, 3, dtype=dtype)
    split = {
        "train/a": {"name": "train/a", "gloss": "A B", "num_frames": 7, "keypoint": base},
        "b": {"keypoint": base.transpose(0, 1)},
        "c": {"keypoint": base[2:5]},
    }
    loaded = load_pickle(dumped(tmp_path / "x.train", split, protocol))
    assert loaded["train/a"]["gloss"] == "A B"
    assert all(torch.equal(loaded[name]["keypoint"], split[name]["keypoint"]) for name in split)
    assert loaded["b"]["keypoint"].stride() == base.transpose(0, 1).stride()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_numpy_arrays_and_scalars_load(tmp_path: Path, protocol: int) -> None:
    value = {
        "array": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.ones((2, 3), np.float32)),
        "count": np.int64(5),
        "empty": torch.zeros(0, 3),
    }
    loaded = load_pickle(dumped(tmp_path / "x.pkl", value, protocol))
    assert np.array_equal(loaded["array"], value["array"])
    assert np.array_equal(loaded["fortran"], value["fortran"])
    assert loaded["count"] == 5
    assert loaded["empty"].shape == (0, 3)


def test_ordered_dict_loads(tmp_path: Path) -> None:
    assert load_pickle(dumped(tmp_path / "x.pkl", collections.OrderedDict(a=1))) == {"a": 1}


@pytest.mark.parametrize(("value", "name"), [(Runs(os.system, "touch harm"), "posix.system"), (Runs(eval, "1"), "builtins.eval"), (Path("x"), "pathlib.")])
def test_anything_else_is_refused_by_name(tmp_path: Path, value: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=name) as caught:
        load_pickle(dumped(tmp_path / "evil.pkl", {"a": value}))
    assert "evil.pkl" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_code_inside_the_storage_bytes_is_refused(tmp_path: Path) -> None:
    inner = pickle.dumps(Runs(os.system, "true"), protocol=2)
    with pytest.raises(CorpusError, match="damaged"):
        load_pickle(dumped(tmp_path / "evil.pkl", Runs(torch.storage._load_from_bytes, inner)))


def test_dotted_names_do_not_reach_further(tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(
        b"\x80\x04\x8c\x0btorch._utils\x8c\x1d_rebuild_tensor_v2.__globals__\x93.".replace(b"\x8c\x0b", b"\x8c\x0c").replace(b"\x8c\x1d", b"\x8c\x1e")
    )
    with pytest.raises(CorpusError, match="__globals__"):
        load_pickle(tmp_path / "evil.pkl")


def test_a_view_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    storage = torch.storage.TypedStorage(wrap_storage=torch.zeros(4).untyped_storage(), dtype=torch.float32, _internal=True)
    with pytest.raises(CorpusError, match="exceeds its storage"):
        load_pickle(dumped(tmp_path / "evil.pkl", Runs(torch._utils._rebuild_tensor_v2, storage, 0, (1000,), (1,), False, collections.OrderedDict())))


def test_missing_truncated_and_foreign_files_are_one_line(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": torch.zeros(100)})
    (tmp_path / "cut.pkl").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pkl").write_text("no pickle at all")
    for name in ("cut.pkl", "text.pkl", "missing.pkl"):
        with pytest.raises(CorpusError, match=name) as caught:
            load_pickle(tmp_path / name)
        assert "\n" not in str(caught.value)
