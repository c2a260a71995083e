"""`ctc_beam`: ctcdecode's n-best on smoothed random probabilities; greedy and TensorFlow's search on the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.decoding.beam_search import tf_beam_search
from models.decoding.ctcdecode import CTCBeamDecoder
from models.decoding.greedy import greedy_search
from models.decoding.prefix_beam import PrefixSearch, prefix_beam_search
from models.decoding.repeats import merge_repeats
from models.errors import ParityError
from tests.parity import formula
from tests.parity.case import Case, Record
from tests.parity.comparison import Report

RULE = [
    "x = formula.array(array, shape, seed) as float64, shape (B, T, V)",
    "if smooth: pad x with one zero frame at both ends of time, x[t] = (x[t-1] + x[t] + x[t+1]) / sqrt(3)",
    "z = scale * x; z[:, :, 0] += blank_bias",
    "softmax over V in float64, then cast to float32",
    "log_probs_input true: natural log of those float32 values, in float32",
    "frames at and after lengths[b] are not to be used",
]
CLEAR_GAP = 1e-3  # two hypotheses nearer than this may stand in either order


def run(case: Case, report: Report) -> None:
    if case.inputs["probabilities"]["rule"] != RULE:
        raise ParityError("inputs.probabilities.rule: this adapter knows another rule")
    for entry in case["cases"]:
        _compare(entry["name"], entry, report)
    if case.get("edge"):
        _compare("edge", case["edge"], report)


def _compare(name: str, entry: Record, report: Report) -> None:
    probabilities, lengths = _probabilities(entry["input"]), np.minimum(entry["lengths"], entry["input"]["shape"][1])
    if "probabilities" in entry:
        sampled = formula.positions(probabilities.size, len(entry["probabilities"]["sample"]))
        report.compare_numbers(f"{name}.probabilities", probabilities.reshape(-1)[sampled], entry["probabilities"]["sample"])
    is_log = bool(entry["decoder"].get("log_probs_input"))
    decoder = CTCBeamDecoder([str(token) for token in range(probabilities.shape[2])], **entry["decoder"])
    found = decoder.decode(torch.from_numpy(np.log(probabilities) if is_log else probabilities), torch.tensor(entry["lengths"]))
    greedy = greedy_search(torch.from_numpy(np.log(probabilities)), lengths.tolist(), blank=entry["decoder"]["blank_id"])
    for index, expected in enumerate(entry["expected"]):
        beam = [values[index] for values in found]
        _compare_beam(f"{name}.expected[{index}]", beam, expected, report)
        if "greedy" in expected:
            ids = greedy[index][0]
            report.compare_exact(f"{name}.expected[{index}].greedy", [ids, merge_repeats(ids)], [expected["greedy"], expected["greedy_after_merging_repeats"]])
    for width, rows in entry.get("tensorflow_ctc_beam_search_decoder", {}).items():
        ours = _tensorflow(np.log(probabilities), lengths, int(width.removeprefix("beam_")), entry["decoder"]["blank_id"])
        for index, (row, expected) in enumerate(zip(ours, rows, strict=True)):
            report.compare_all(f"{name}.tensorflow.{width}[{index}]", row, expected)


def _probabilities(recipe: Record) -> NDArray[np.float32]:
    x = formula.array(recipe["array"], tuple(recipe["shape"]), recipe["seed"]).astype(np.float64)
    if recipe["smooth"]:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        x = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / np.sqrt(3)
    z = recipe["scale"] * x
    z[:, :, 0] += recipe["blank_bias"]
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return probabilities


def _compare_beam(name: str, beam: list[torch.Tensor], expected: Record, report: Report) -> None:
    tokens, scores, timesteps, lengths = (values.tolist() for values in beam)
    report.compare_exact(f"{name}.returned_with_nonzero_probability", sum(score < 1e38 for score in scores), expected["returned_with_nonzero_probability"])
    previous_gap = np.inf
    for row, wanted in enumerate(expected["hypotheses"]):
        place, length = f"{name}.hypotheses[{row}]", lengths[row]
        gap = wanted.get("gap_to_next")
        report.compare_numbers(f"{place}.score", scores[row], wanted["score"], part="score")
        if min(previous_gap, np.inf if gap is None else gap) > CLEAR_GAP:
            report.compare_exact(f"{place}.tokens", tokens[row][:length], wanted["tokens"])
            if wanted["timesteps"] is not None:
                ours = [step if other is not None else None for step, other in zip(timesteps[row][:length], wanted["timesteps"], strict=False)]
                report.compare_exact(f"{place}.timesteps", ours, wanted["timesteps"])
            if row == 0 and "best_after_merging_repeats" in expected:
                report.compare_exact(f"{name}.best_after_merging_repeats", merge_repeats(tokens[0][:length]), expected["best_after_merging_repeats"])
        previous_gap = np.inf if gap is None else gap


def _tensorflow(logits: NDArray[np.float32], lengths: NDArray[np.int64], beam_width: int, blank: int) -> list[dict[str, Any]]:
    values, steps = torch.from_numpy(logits), lengths.tolist()
    found = tf_beam_search(values, steps, beam_width=beam_width, blank=blank)
    uncut = prefix_beam_search(values, steps, search=PrefixSearch(beam_width=beam_width, cutoff_top_n=logits.shape[2], blank=blank))
    return [
        {
            "tokens": ids,
            "log_probability": score,
            "after_merging_repeats": merge_repeats(ids),
            "same_as_prefix_beam_search_without_vocabulary_cut": ids == ranking[0].ids,
        }
        for (ids, score), ranking in zip(found, uncut, strict=True)
    ]
