"""Cases of the network kinds with other widths, lengths, batches, seeds and pictures; their figures come from plain forms written apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.mska import published
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import Mska
from tests.benchmarks.naive_mska import naive_twin
from tests.parity import formula
from tests.parity.adapters import mska_slr
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


@pytest.mark.parametrize(("seed", "lengths", "num_classes"), [(3, [24, 40], 11), (8, [36, 12, 32, 20], 30)])
def test_recognition_cases_of_other_widths_and_lengths_pass(seed: int, lengths: list[int], num_classes: int, tmp_path: Path) -> None:
    values = load("mska_slr")
    blocks = [[4, 4, 1, 7, 2], [4, 8, 2, 3, 1], [8, 8, 2, 3, 2]]
    options = MskaOptions(blocks=tuple(BlockShape(*row) for row in blocks), num_subsets=3, head=HeadOptions(hidden_size=16, ff_size=24))
    network = Mska(options, num_classes)
    names = {name: list(value.shape) for name, value in published.export(network).items()}
    heads = {name: {**values["config"]["heads"][name], "input_size": width, "hidden_size": 16, "ff_size": 24} for name, width in options.head_inputs.items()}
    targets = formula.integers("gloss_labels", (len(lengths), 3), 4, num_classes, seed).tolist()
    values["seed"] = seed
    values["config"] |= {"net": blocks, "num_subset": 3, "num_classes": num_classes, "heads": heads}
    values["parameters"] = [[name, shape] for name, shape in names.items()]
    values["constants"] = list(published.tables(network))
    values["inputs"] |= {
        "keypoint": {"shape": [len(lengths), 3, max(lengths), 133], "how": values["inputs"]["keypoint"]["how"]},
        "src_length": lengths,
        "new_src_lengths": [length // 4 for length in lengths],
        "gloss_labels": {"how": values["inputs"]["gloss_labels"]["how"], "value": targets},
        "gls_lengths": [3] * len(lengths),
    }
    del values["train_mode_no_dropout"]
    case = Case(path=tmp_path, record=Record(values, ""))
    tables = published.tables(network)
    published.load(network, published_state(case, constant=lambda name, shape: tables[name].reshape(shape)))
    inputs = mska_slr.make_inputs(case)
    with torch.no_grad():
        logits = naive_twin(network).eval()(inputs["keypoints"].permute(0, 3, 1, 2), torch.tensor(values["inputs"]["new_src_lengths"]))
    ensemble = torch.stack([value.softmax(-1) for value in logits.values()]).sum(0).log()
    values["expected"] = {f"{name}_gloss_logits": formula.describe(value.numpy()) for name, value in logits.items()}
    values["expected"]["ensemble_last_gloss_logits"] = formula.describe(ensemble.numpy())
    log_probs = logits["fuse"].log_softmax(-1).transpose(0, 1)
    steps, counts = torch.tensor(values["inputs"]["new_src_lengths"]), torch.full((len(lengths),), 3)
    ctc = torch.nn.functional.ctc_loss(log_probs, torch.tensor(targets), steps, counts, reduction="sum", zero_infinity=True) / len(lengths)
    values["losses"] = {"recognition_loss_fuse": ctc.item()}
    assert run(tmp_path, values) == Status.PASSED
    values["losses"]["recognition_loss_fuse"] *= 1.001
    assert run(tmp_path, values) == Status.MISSED


def test_collate_cases_of_other_pictures_and_clips_pass(tmp_path: Path) -> None:
    values = load("mska_collate")
    seed, width, height, lengths = 4, 512, 480, [9, 130, 71]
    how = values["inputs"]["sample0"]["how"]
    values["seed"] = seed
    values["config"] |= {"width": width, "height": height, "clip_len": 64}
    glosses = ["REGEN SONNE IX", "FREMD", "NORD NORD"]
    values["inputs"] = {
        f"sample{number}": {"shape": [length, 133, 3], "how": how.replace("sample0", f"sample{number}"), "gloss": gloss}
        for number, (length, gloss) in enumerate(zip(lengths, glosses, strict=True))
    }
    starts, counts = [0, 33, 3], [8, 64, 64]
    keypoints = np.stack(
        [
            _normalised(number, length, seed, start, count, max(counts))
            for number, (length, start, count) in enumerate(zip(lengths, starts, counts, strict=True))
        ]
    )
    angle = math.radians(10)
    x, y = keypoints[:1, 0], keypoints[:1, 1]
    rotated = np.stack([x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)], axis=1)
    mask = np.arange(16)[None, None, :] < np.array(counts)[:, None, None] // 4
    values["expected"] = {
        "keypoint": formula.describe(keypoints),
        "mask": formula.describe(mask),
        "rotated_first_sample_plus_10_degrees": formula.describe(rotated),
    }
    values["values"] = {
        "src_length": counts,
        "new_src_lengths": [2, 16, 16],
        "gloss_labels": [[4, 10, 6], [1, 2, 2], [9, 9, 2]],
        "gls_lengths": [3, 1, 2],
        "first_and_last_frame_index": [[start, start + count - 1] for start, count in zip(starts, counts, strict=True)],
    }
    assert run(tmp_path, values) == Status.PASSED


def _normalised(number: int, length: int, seed: int, start: int, count: int, padded: int) -> np.ndarray:
    """(3, T, 133): the recipe's points, of which width and height cancel out, padded by the last frame that was taken."""
    raw = formula.array(f"sample{number}", (length, 133, 3), seed).astype(np.float64)
    frames = raw[np.minimum(np.arange(start, start + padded), start + count - 1)]
    return np.stack([0.3 * frames[..., 0], -0.3 * frames[..., 1], np.clip(0.6 + 0.2 * frames[..., 2], 0, 1)])
