"""`ctc_beam_decode`: ctcdecode's best hypothesis and greedy decoding of rows of logits, adjacent equal glosses merged afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.decoding.ctcdecode import CTCBeamDecoder
from models.decoding.greedy import greedy_search
from models.decoding.repeats import merge_repeats
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report

HOW = (
    "for every row: x = formula.array('logits.'+name, (B,T,num_classes), seed={seed}) * scale in float32; x[...,0] += {bias}; then frames 1,3,5,... "
    "become {own}*themselves + {before}*the frame before; probabilities = softmax over classes in float32; frames from lengths[b] on are not used. "
    "Rows whose name starts with 'path' are made otherwise: x = {path_scale}*formula.array('logits.'+name, (B,T,num_classes), seed={array_seed}); "
    "then x[b,t,path[b,t]] += scale with path = formula.integers('path.'+name, (B,T), {low}, {high}, seed={path_seed}); no blank bias, no frame mixing"
)
SCORE_TOLERANCE = "abs 1e-3"  # of the case's note


def run(case: Case, report: Report) -> None:
    report.tolerances = {"beam_negative_log_score": SCORE_TOLERANCE, "score_gap_to_second_beam": SCORE_TOLERANCE, **report.tolerances}
    recipe = {key: float(value) for key, value in recipe_match(HOW, case.inputs["logits"]["how"]).items()}
    for row in case.expected["rows"]:
        ours = _decode(_logits(row, recipe), row["lengths"], case.config)
        known = {key: value for key, value in row.items() if key not in ("name", "B", "T", "num_classes", "scale", "lengths")}
        report.compare_all(f"rows.{row['name']}", ours, known)


def _logits(row: Record, recipe: dict[str, float]) -> NDArray[np.float32]:
    name, shape, scale = row["name"], (row["B"], row["T"], row["num_classes"]), np.float32(row["scale"])
    if name.startswith("path"):
        x = np.float32(recipe["path_scale"]) * formula.array(f"logits.{name}", shape, int(recipe["array_seed"]))
        path = formula.integers(f"path.{name}", shape[:2], int(recipe["low"]), int(recipe["high"]), int(recipe["path_seed"]))
        np.put_along_axis(x, path[..., None], np.take_along_axis(x, path[..., None], -1) + scale, -1)
        return x
    x = formula.array(f"logits.{name}", shape, int(recipe["seed"])) * scale
    x[..., 0] += np.float32(recipe["bias"])
    later = x[:, 1::2]
    x[:, 1::2] = np.float32(recipe["own"]) * later + np.float32(recipe["before"]) * x[:, 0 : 2 * later.shape[1] : 2]
    return x


def _decode(logits: NDArray[np.float32], lengths: list[int], config: Record) -> dict[str, Any]:
    values, blank = torch.from_numpy(logits), config["blank"]
    cut = {key: config[key] for key in ("beam_width", "cutoff_top_n", "cutoff_prob")}
    decoder = CTCBeamDecoder([str(token) for token in range(logits.shape[2])], blank_id=blank, **cut)
    tokens, scores, _, out_lengths = decoder.decode(values.softmax(-1), torch.tensor(lengths))
    best = [row[0, : int(length[0])].tolist() for row, length in zip(tokens, out_lengths, strict=True)]
    found: dict[str, Any] = {
        "beam_tokens": best,
        "beam_tokens_after_merging": [merge_repeats(ids) for ids in best],
        "beam_negative_log_score": scores[:, 0],
        "max_tokens": [merge_repeats(ids) for ids, _ in greedy_search(values, lengths, blank=blank)],
    }
    if scores.shape[1] > 1:
        found["score_gap_to_second_beam"] = scores[:, 1] - scores[:, 0]
    return found
