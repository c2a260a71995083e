"""`ctc_beam_search`: the decoder of the TwoStream systems, TensorFlow's search, alone on random logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.decoding.beam_search import tf_beam_search
from models.decoding.repeats import merge_repeats
from models.errors import ParityError
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report

PLAIN = "{scale}*array('{name:text}', ({clips}, {steps}, {classes}), seed={seed})"
BIASED = PLAIN + " then + {bias} on class {biased}"


def run(case: Case, report: Report) -> None:
    blank = case.config["blank"]
    for name, widths in case["decoded"].items():
        entry = case.inputs[name]
        if entry["layout"] != f"batch, time, class; class {blank} is the blank":
            raise ParityError(f"inputs.{name}.layout: this adapter knows another layout than {entry['layout']!r}")
        logits = _logits(entry)
        for width, expected in widths.items():
            found = [ids for ids, _ in tf_beam_search(logits, entry["lengths"], beam_width=int(width), blank=blank)]
            ours: dict[str, Any] = {"before_merging": found, "after_merging": [merge_repeats(ids) for ids in found]}
            report.compare_all(f"decoded.{name}.{width}", ours, expected)


def _logits(entry: Record) -> Tensor:
    made = entry["made"]
    recipe = recipe_match(BIASED if " then " in made else PLAIN, made)
    shape = int(recipe["clips"]), int(recipe["steps"]), int(recipe["classes"])
    x = np.float32(recipe["scale"]) * formula.array(recipe["name"], shape, int(recipe["seed"]))
    if "bias" in recipe:
        x[..., int(recipe["biased"])] += np.float32(recipe["bias"])
    return torch.from_numpy(x)
