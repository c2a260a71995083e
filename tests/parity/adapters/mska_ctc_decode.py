"""`mska_ctc_decode`: TensorFlow's beam search on smoothed random logits of four heads and on their ensemble."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.decoding.beam_search import tf_beam_search
from models.decoding.repeats import merge_repeats
from models.errors import ParityError
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report

HEAD = "x = {scale}*formula.array('{name:text}', shape, seed); x[:,:,0] += {bias}; then y[0]=x[0], y[t]={decay}*y[t-1]+{gain}*x[t] along time, float32"
ENSEMBLE = "log of the sum of the four softmax outputs (float64, then float32)"


def run(case: Case, report: Report) -> None:
    logits = _logits(case)
    report.compare_all("expected", logits, case.expected)
    decoded = {head: {width: _decode(case, logits, head, width) for width in widths} for head, widths in case["decoded"].items()}
    report.compare_all("decoded", decoded, case["decoded"])


def _logits(case: Case) -> dict[str, NDArray[np.float32]]:
    heads = {name: entry for name, entry in case.inputs.items() if isinstance(entry, Record) and "shape" in entry}
    logits = {name: _head_logits(entry, case.seed) for name, entry in heads.items()}
    ensembles = [name for name, entry in case.inputs.items() if isinstance(entry, Record) and entry.get("how") == ENSEMBLE]
    return {**logits, **{name: _ensemble(list(logits.values())) for name in ensembles}}


def _head_logits(entry: Record, seed: int) -> NDArray[np.float32]:
    recipe = recipe_match(HEAD, entry["how"])
    x = np.float32(recipe["scale"]) * formula.array(recipe["name"], entry["shape"], seed)
    x[:, :, 0] += np.float32(recipe["bias"])
    decay, gain = np.float32(recipe["decay"]), np.float32(recipe["gain"])
    for step in range(1, x.shape[1]):
        x[:, step] = decay * x[:, step - 1] + gain * x[:, step]
    return x


def _ensemble(heads: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return torch.stack([torch.from_numpy(head).double().softmax(-1) for head in heads]).sum(0).log().float().numpy()


def _decode(case: Case, logits: dict[str, NDArray[np.float32]], head: str, width: str) -> dict[str, Any]:
    if head not in logits or not width.startswith("beam_"):
        raise ParityError(f"decoded.{head}.{width}: no such head among the inputs, or no beam_N")
    found = tf_beam_search(
        torch.from_numpy(logits[head]), case.inputs["input_lengths"], beam_width=int(width.removeprefix("beam_")), blank=case.config["blank"]
    )
    return {
        "ids": [merge_repeats(ids) for ids, _ in found],
        "before_merging_repeats": [ids for ids, _ in found],
        "log_probability": [score for _, score in found],
    }
