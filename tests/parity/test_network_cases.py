"""Cases of the network kinds with other widths, lengths, batches, seeds and pictures; their figures come from plain forms written apart."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.errors import ParityError
from models.mska import published
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import Mska
from models.positions import sinusoid
from tests.benchmarks.naive_mska import NaiveHead, NaiveMska, naive_twin
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


@pytest.mark.parametrize("distillation", ["absent", False, True])
def test_recognition_cases_of_other_joints_and_heads_pass(distillation: bool | str, tmp_path: Path) -> None:
    """Streams of a few joints out of 40, sizes of each head alone, and the KL terms only where `cross_distillation` is on."""
    values, blocks, lengths, num_classes, seed = load("mska_slr"), [[4, 4, 1, 7, 2], [4, 8, 2, 3, 2]], [24, 16], 9, 5
    streams = {"left": [0, 3, 5], "right": [1, 4, 39], "face": [20, 22, 23, 25], "body": [0, 3, 5, 1, 4, 39, 7]}
    sizes = {"fuse": (16, 24, (3, 3)), "left": (12, 20, (5, 3)), "right": (8, 28, (3, 1)), "body": (20, 16, (3, 3))}
    options = MskaOptions(blocks=tuple(BlockShape(*row) for row in blocks), num_subsets=2, num_keypoints=40, head=HeadOptions(hidden_size=16), **streams)
    twin = NaiveMska(options, num_classes).eval()
    for name, width in options.head_inputs.items():
        twin.add_module(f"{name}_visual_head", NaiveHead(width, num_classes, *sizes[name], 0.1).eval())
    tables = published.tables(Mska(options, num_classes))
    tables |= {f"{published.PREFIX}{name}_visual_head.pe.pe": sinusoid(5000, hidden)[None] for name, (hidden, _, _) in sizes.items()}
    values["seed"] = seed
    values["config"] |= {"net": blocks, "num_subset": 2, "num_classes": num_classes, "cross_distillation": distillation, **streams}
    values["config"]["heads"] = {name: {"hidden_size": size[0], "ff_size": size[1], "pe": True, "ff_kernelsize": size[2]} for name, size in sizes.items()}
    if distillation == "absent":
        del values["config"]["cross_distillation"]
    values["parameters"] = [[published.PREFIX + name, list(value.shape)] for name, value in twin.state_dict().items()]
    values["constants"] = list(tables)
    values["inputs"] |= {
        "keypoint": {"shape": [2, 3, max(lengths), 40], "how": values["inputs"]["keypoint"]["how"]},
        "src_length": lengths,
        "gloss_labels": {"value": [[4, 6], [8, 2]]},
        "gls_lengths": [2, 1],
    }
    del values["train_mode_no_dropout"]
    case = Case(path=tmp_path, record=Record(values, ""))
    weights = published_state(case, constant=lambda name, shape: tables[name].reshape(shape))
    twin.load_state_dict({name.removeprefix(published.PREFIX): value for name, value in weights.items()})
    seen: dict[str, torch.Tensor] = {}
    for stream in streams:
        layer = f"visual_backbone_keypoint.{stream}_graph_layers.1"
        twin.get_submodule(layer).register_forward_hook(lambda _, __, output, layer=layer: seen.update({layer: output}))
    inputs, steps = mska_slr.make_inputs(case), torch.tensor(lengths) // 4
    with torch.no_grad():
        logits = twin(inputs["keypoints"].permute(0, 3, 1, 2), steps)
    seen |= {f"{name}_gloss_logits": value for name, value in logits.items()}
    values["expected"] = {name: formula.describe(value.numpy()) for name, value in seen.items()}
    values["losses"] = recognition_terms(logits, inputs, steps, distillation=distillation is True)
    assert run(tmp_path, values) == Status.PASSED
    values["losses"]["fuse_distill_loss"] = values["losses"].get("fuse_distill_loss", 0.0) + 1.0
    assert run(tmp_path, values) == Status.MISSED


def recognition_terms(logits: dict[str, torch.Tensor], inputs: dict[str, torch.Tensor], steps: torch.Tensor, *, distillation: bool) -> dict[str, float]:
    """The losses of section 5, by torch's own CTC and KL."""
    log_probs, terms = {name: value.log_softmax(-1) for name, value in logits.items()}, {}
    teacher = torch.stack([value.exp() for value in log_probs.values()]).mean(0)
    for name, value in log_probs.items():
        total = F.ctc_loss(value.transpose(0, 1), inputs["targets"], steps, inputs["target_lengths"], reduction="sum", zero_infinity=True)
        terms[f"recognition_loss_{name}"] = total.item() / len(steps)
        if distillation:
            terms[f"{name}_distill_loss"] = F.kl_div(value, teacher, reduction="batchmean").item()
    total = sum(terms.values())
    return terms | {"recognition_loss": total, "total_loss": total}


@pytest.mark.parametrize(("numbers", "wanted"), [(("-4e-1", ".5 - 1e-1"), (-0.4, 0.5, -0.1)), (("+0.3", "-0.5 + -.2"), (0.3, -0.5, -0.2))])
def test_numbers_of_a_keypoint_recipe_may_be_written_otherwise(numbers: tuple[str, str], wanted: tuple[float, float, float], tmp_path: Path) -> None:
    values = load("mska_slr")
    how = values["inputs"]["keypoint"]["how"]
    values["inputs"]["keypoint"]["how"] = how.replace("0.4*raw, -1", f"{numbers[0]}*raw, -.5").replace("0.5 + 0.2*raw", f"{numbers[1]}*raw")
    keypoints = mska_slr.make_inputs(Case(path=tmp_path, record=Record(values, "")))["keypoints"][0, ..., 1:].numpy()
    raw = formula.array("keypoint", values["inputs"]["keypoint"]["shape"], values["seed"])[0].transpose(1, 2, 0)
    scale, offset, spread = wanted
    assert np.array_equal(keypoints[..., 0], np.clip(scale * raw[..., 1], -0.5, 1))
    assert np.array_equal(keypoints[..., 1], np.clip(offset + spread * raw[..., 2], 0, 1))
    values["inputs"]["keypoint"]["how"] = "zeros"
    with pytest.raises(ParityError, match="'zeros' has no part that reads"):
        mska_slr.make_inputs(Case(path=tmp_path, record=Record(values, "")))


def test_numbers_of_a_collate_recipe_may_be_written_otherwise(tmp_path: Path) -> None:
    """The shared case with its numbers in other spellings, and one with other numbers than it was recorded with."""
    values = load("mska_collate")
    for record in values["inputs"].values():
        record["how"] = record["how"].replace("(0.5+0.15*x0)", "(.5 + 15e-2*x0)").replace("0.6+0.2*x2, 0,", "6e-1 - -.2*x2, 0.0,")
    assert run(tmp_path, values) == Status.PASSED
    values["inputs"]["sample0"]["how"] = values["inputs"]["sample0"]["how"].replace("(.5 +", "(-.5 +")
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
