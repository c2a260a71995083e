"""Kind `slowfast_pkl_import`: the pre-training file into the backbone, written as a pickle and read as a user's file is."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable
from pathlib import Path

from models.published.loading import renamed
from models.slowfastsign.backbone import Backbone
from models.slowfastsign.config import SlowFastOptions
from models.slowfastsign.pretrained import Resized, load_pretrained, read_blobs
from models.slowfastsign.published import BACKBONE_RENAMES
from models.vac.published import conv3d_shape
from tests.parity import formula
from tests.parity.adapters.slowfastsign import fusion_of
from tests.parity.case import Case, recipe_values
from tests.parity.comparison import Report


def run(case: Case, report: Report) -> None:
    record = case.inputs["blobs"]
    seed = int(recipe_values("value of each = formula.tensor(name, shape, seed={seed})", record["how"])["seed"])
    blobs = {name: formula.tensor(name, tuple(shape), seed) for name, shape in record["shapes"]}
    backbone = Backbone(SlowFastOptions(depth=case.config["depth"], fusion=fusion_of(case.config["fuse"])))
    with tempfile.TemporaryDirectory(prefix="pretrained") as folder:
        path = Path(folder) / "blobs.pkl"
        path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
        found = load_pretrained(backbone, read_blobs(path))
    ours = {
        "name_map": [[blob, entry] for blob, entry in found.names.items()],
        "unused_blobs": list(found.unused),
        "keys_left_at_initial_value": list(found.initial),
        "blobs_matched_but_not_copied": list(found.not_copied),
        "input_channels_cut": _rows(found.cut),
        "tiled": _rows(found.tiled),
    }
    expected = case.expected
    for key, rows in ours.items():
        report.compare_exact(f"expected.{key}", sorted(rows), sorted(expected[key]))  # which, in whatever order
    state = {renamed(name, BACKBONE_RENAMES): value for name, value in backbone.state_dict().items()}
    values = {name: value.reshape(conv3d_shape("", name, value)) for name, value in state.items()}
    report.compare_all("expected.values", values, expected["values"])


def _rows(entries: Iterable[Resized]) -> list[list[object]]:
    return [[entry.blob, entry.entry, list(entry.file_shape), list(entry.shape)] for entry in entries]
