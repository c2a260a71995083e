"""Cases of CorrNet, MSTFNet and SlowFastSign with other widths, lengths, batches and seeds; their figures come from the naive forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.corrnet import published as corrnet
from models.mstfnet import published as mstfnet
from models.published.loading import renamed
from models.slowfastsign import published as slowfastsign
from models.slowfastsign.backbone import Backbone
from models.slowfastsign.config import SlowFastOptions
from models.vac.temporal import TemporalLayout
from tests.benchmarks.naive_vac import naive_twin
from tests.parity import formula
from tests.parity.adapters.vac_family import make_inputs
from tests.parity.case import Case, Record
from tests.parity.run import Status, main
from tests.parity.weights import published_state
from tests.unit.models.vac.tiny import NUM_CLASSES, SIZE, tiny

CASES = Path(__file__).resolve().parent / "cases"
Values = dict[str, Any]
SEED, LENGTHS, LABELS = 5, [9, 21, 14], [[1, 2, 2], [4], [3, 1]]  # labels in the order of the batch, longest clip first


def run(folder: Path, values: Values) -> Status:
    path = folder / "case.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return main([str(path), "--quiet", "--traceback"])


def toy(kind: str, network_name: str, export: Callable[..., dict[str, Tensor]], **options: object) -> tuple[Values, Any]:
    """A case file of this kind for a toy network, as yet without figures, and the network."""
    values: Values = json.loads((CASES / f"{kind}.json").read_text(encoding="utf-8"))
    network = tiny(network_name, **options)
    values["parameters"] = [[name, list(value.shape)] for name, value in export(network).items()]
    values["aliases"] = {name: source for name, source in values["aliases"].items() if any(name == entry for entry, _ in values["parameters"])}
    values["seed"] = SEED
    values["config"] |= {"num_classes": NUM_CLASSES, "hidden_size": 24, "input_size": SIZE, "seed": SEED}
    how = values["inputs"]["clip0"]["how"].replace("224,224", f"{SIZE},{SIZE}").replace("7,7", "1,1").replace("seed=0", f"seed={SEED}")
    old = values["inputs"]["clip0"]["raw_frames"]
    for number, length in enumerate(LENGTHS):
        text = how.replace("clip0", f"clip{number}").replace(f"({old},", f"({length},")
        values["inputs"][f"clip{number}"] = {"how": text, "raw_frames": length}
    values["losses_targets"] = {"label": list(chain(*LABELS)), "label_lgt": [len(labels) for labels in LABELS]}
    return values, network


@pytest.mark.parametrize(
    ("kind", "module", "options", "config", "branch"),
    [
        ("corrnet", corrnet, {"depth": 34}, {"c2d_type": "resnet34"}, ""),
        ("mstfnet", mstfnet, {}, {"c2d_type": "resnet18", "hfeam_inplanes": 20}, ""),
        ("mstfnet_shared", mstfnet, {"attention": "shared"}, {"c2d_type": "resnet18", "hfeam_inplanes": 20}, ""),
        ("slowfastsign", slowfastsign, {"fusion_kernel": 7}, {}, ".slow"),
    ],
)
def test_cases_of_other_widths_and_lengths_pass(kind: str, module: Any, options: Values, config: Values, branch: str, tmp_path: Path) -> None:
    values, network = toy(kind, kind.removesuffix("_shared"), module.export, **options)
    values["config"] |= config
    if kind == "slowfastsign":
        values["config"]["slowfast_config"] |= {"DEPTH": 50, "FUSION_KERNEL_SZ": 7}
    case = Case(path=tmp_path, record=Record(values, ""))
    module.load(network, published_state(case))
    frames, lengths = make_inputs(case, TemporalLayout.of(2))
    with torch.no_grad():
        logits = naive_twin(network.eval())(frames, lengths)
    prefix = f"{branch[1:]}_" if branch else ""
    steps = torch.tensor([6, 4, 3])
    values["expected"] = {f"{head}_logits{branch}": formula.describe(logits[f"{prefix}{head}"].transpose(0, 1).numpy()) for head in ("conv", "sequence")}
    values["expected"] |= {"feat_len": formula.describe(steps.numpy()), "len_x": formula.describe(np.array([36, 28, 24]))}
    each = F.ctc_loss(
        logits[f"{prefix}sequence"].transpose(0, 1).log_softmax(-1), torch.tensor(list(chain(*LABELS))), steps, torch.tensor([3, 1, 2]), reduction="none"
    )
    values["losses"] = {f"SeqCTC{branch}": each.mean().item()}
    assert run(tmp_path, values) == Status.PASSED
    values["losses"][f"SeqCTC{branch}"] *= 1.001
    assert run(tmp_path, values) == Status.MISSED


def test_padding_cases_of_other_lengths(tmp_path: Path) -> None:
    values: Values = json.loads((CASES / "temporal_conv_padding.json").read_text(encoding="utf-8"))
    row = {
        "conv_type": 2,
        "layers": ["K5", "P2", "K5", "P2"],
        "raw_lengths": [3, 6],
        "order": [1, 0],
        "padded_frames": 20,
        "len_x": [20, 16],
        "left_pad": [6, 6],
        "frame_index_of_each_padded_frame": [[0] * 6 + [0, 1, 2, 3, 4, 5] + [5] * 8, [0] * 6 + [0, 1, 2] + [2] * 11],
        "feat_len": [2.0, 1.0],
        "module_output_frames": 2,
    }
    values["expected"] = {"rows": [row], "rows_mstfnet_lift_pool": [row]}
    assert run(tmp_path, values) == Status.PASSED
    values["expected"]["rows"][0]["frame_index_of_each_padded_frame"][1][7] = 0
    assert run(tmp_path, values) == Status.MISSED


def test_import_cases_of_another_depth(tmp_path: Path) -> None:
    values: Values = json.loads((CASES / "slowfast_pkl_import.json").read_text(encoding="utf-8"))
    values["config"]["depth"], values["inputs"]["blobs"]["how"] = 50, "value of each = formula.tensor(name, shape, seed=3)"
    values["inputs"]["blobs"]["shapes"] = [["res4_5_branch2b_w", [256, 256, 1, 3, 3]], ["res4_6_branch2b_w", [256, 256, 1, 3, 3]], ["model_iter", [1]]]
    entry = "s4.pathway0_res5.branch2.b.weight"
    initial = set(values["expected"]["keys_left_at_initial_value"])
    value = formula.tensor("res4_5_branch2b_w", (256, 256, 1, 3, 3), 3)
    values["expected"] = {
        "name_map": [["res4_5_branch2b_w", entry]],
        "unused_blobs": ["model_iter", "res4_6_branch2b_w"],
        "blobs_matched_but_not_copied": [],
        "input_channels_cut": [],
        "tiled": [],
        "values": {entry: formula.describe(value)},
    }
    names = [renamed(name, slowfastsign.BACKBONE_RENAMES) for name in Backbone(SlowFastOptions(depth=50)).state_dict() if not name.endswith("tracked")]
    assert initial < set(names)
    values["expected"]["keys_left_at_initial_value"] = [name for name in names if name != entry]
    assert run(tmp_path, values) == Status.PASSED
