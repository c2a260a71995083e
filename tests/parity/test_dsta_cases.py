"""Cases of the DSTA-SLR kinds with other widths, lengths, batches and seeds; their figures come from plain forms written apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from models.dsta_slr.published import export
from models.dsta_slr.skeleton import LINKS, adjacency
from tests.benchmarks.naive_dsta import NaiveDsta
from tests.parity import formula
from tests.parity.case import Case, Record
from tests.parity.run import Status, main
from tests.parity.weights import published_state

CASES = Path(__file__).resolve().parent / "cases"
Values = dict[str, Any]


def load(name: str) -> Values:
    values: Values = json.loads((CASES / f"{name}.json").read_text(encoding="utf-8"))
    return values


def run(folder: Path, values: Values) -> Status:
    path = folder / "case.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return main([str(path), "--quiet", "--traceback"])


@pytest.mark.parametrize(("seed", "count", "num_frames", "width", "depth"), [(3, 3, 33, 16, 4), (8, 1, 64, 32, 2)])
def test_network_cases_of_other_sizes_pass(seed: int, count: int, num_frames: int, width: int, depth: int, tmp_path: Path) -> None:
    values, options = load("dsta_slr"), DstaOptions(width=width, depth=depth)
    values["seed"] = seed
    values["config"] |= {"inner_dim": width, "depth": depth, "num_class": 30, "window_size": num_frames}
    values["parameters"] = [[name, list(value.shape)] for name, value in export(DstaSlr(options, 30)).items()]
    values["constants"] = [name for name, _ in values["parameters"] if name.endswith(".A")]
    values["inputs"]["keypoints"]["shape"] = [count, 3, num_frames, 27, 1]
    values["inputs"]["label"] = {"how": "formula.integers('label', [N], 0, 30, seed)"}
    naive = NaiveDsta(options, 30)
    state = published_state(Case(path=tmp_path, record=Record(values, "")), constant=lambda _name, shape: adjacency().reshape(shape))
    naive.load_state_dict(state)
    raw = formula.array("keypoints", (count, 3, num_frames, 27), seed)
    raw[:, 2] = np.clip(0.6 + 0.2 * raw[:, 2], 0, 1)
    labels = torch.from_numpy(formula.integers("label", (count,), 0, 30, seed))
    with torch.no_grad():
        logits = naive.eval()(torch.from_numpy(raw))
    values["expected"] = {"logits": formula.describe(logits.numpy())}
    values["losses"] = {"cross_entropy_eval": F.cross_entropy(logits, labels).item()}
    values["train_mode_keep_prob_1"] = training(naive.double().train(), torch.from_numpy(raw).double(), labels) if count > 1 else None
    assert run(tmp_path, values) == Status.PASSED
    values["losses"]["cross_entropy_eval"] *= 1.001
    assert run(tmp_path, values) == Status.MISSED


def training(naive: NaiveDsta, skeletons: Tensor, labels: Tensor) -> Values:
    logits = naive(skeletons)
    loss = F.cross_entropy(logits, labels)
    loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in naive.named_parameters() if parameter.grad is not None and parameter.dim() > 1}
    buffers = {name: buffer.numpy() for name, buffer in naive.named_buffers() if "running" in name}
    return {
        "logits": formula.describe(logits.detach().numpy()),
        "cross_entropy": loss.item(),
        "gradients": {name: formula.describe(value) for name, value in gradients.items() if not name.endswith("Linear_bias")},  # zero but for rounding
        "buffers": {name: formula.describe(value) for name, value in buffers.items()},
    }


def test_exported_names_and_shapes_are_the_published_ones() -> None:
    exported = {name: list(value.shape) for name, value in export(DstaSlr(DstaOptions(), 2000)).items()}
    assert exported == dict(load("dsta_slr")["parameters"])


def in_place_bones(clips: np.ndarray) -> np.ndarray:
    bones = clips.copy()
    for parent, child in LINKS:
        bones[:, :, :, child] -= bones[:, :, :, parent]
    return bones


def test_stream_cases_of_other_sizes_pass(tmp_path: Path) -> None:
    values, seed, shape, window = load("dsta_streams"), 5, (2, 3, 70, 27, 1), 100
    values["seed"] = seed
    values["config"] |= {"window_size": window, "frames_on_disk": 70, "image_width": 300}
    values["inputs"]["skeletons"] = {"shape": list(shape), "how": values["inputs"]["skeletons"]["how"].replace("256", "150").replace("60*x", "40*x")}
    x = formula.array("skeletons", shape, seed)
    clips = np.stack([150 + 40 * x[:, 0], 200 + 40 * x[:, 1], np.clip(0.6 + 0.2 * x[:, 2], 0, 1)], axis=1).astype(np.float32)
    frames = [int(i * 70 / window) for i in range(window)]
    bones = in_place_bones(clips)
    moving = np.concatenate([bones[:, :, 1:] - bones[:, :, :-1], np.zeros_like(bones[:, :, :1])], axis=2)[:, :, frames]
    flipped = clips[:, :, frames][:, :, :, values["config"]["flip_index"]]
    flipped[:, 0] = 300 - flipped[:, 0]
    flipped[:, :2] -= flipped[:, :2, :, :1].mean(2, keepdims=True)
    values["expected"] = {"bone_motion.raw": formula.describe(moving), "joint.mirrored": formula.describe(flipped)}
    values["intended"] = {}
    assert run(tmp_path, values) == Status.PASSED
    values["expected"]["joint.mirrored"]["sample"][3] += 1
    assert run(tmp_path, values) == Status.MISSED
