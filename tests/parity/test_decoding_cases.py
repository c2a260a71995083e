"""Cases of the decoding kinds with other seeds, sizes and options run, and their figures are heeded."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity import formula
from tests.parity.run import Status, main
from tests.unit.models.decoding.oracles import log_softmax, tf_search
from tests.unit.models.decoding.prefix_oracles import prefix_search

Values = dict[str, Any]


def load(name: str) -> Values:
    values: Values = json.loads((Path(__file__).parent / "cases" / f"{name}.json").read_text(encoding="utf-8"))
    return values


def status(values: Values, folder: Path) -> Status:
    path = folder / "case.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return main(["--quiet", "--traceback", str(path)])


def merged(ids: list[int]) -> list[int]:
    return [token for place, token in enumerate(ids) if place == 0 or token != ids[place - 1]]


def slow_rows(log_probs: np.ndarray, lengths: list[int], decoder: Values) -> list[Values]:
    rows = []
    for clip, length in zip(log_probs, lengths, strict=True):
        cut = {"top_n": decoder["cutoff_top_n"], "cutoff_prob": decoder["cutoff_prob"], "blank": decoder["blank_id"]}
        found, arbitrary = prefix_search(clip[:length], decoder["beam_width"], **cut)
        possible = [entry for entry in found if entry.score > -1e38]
        gaps = [*(left.score - right.score for left, right in pairwise(possible)), None]
        hypotheses = [
            {"tokens": list(entry.ids), "timesteps": None if arbitrary else list(entry.timesteps), "score": -entry.score, "gap_to_next": gap}
            for entry, gap in zip(possible[:4], gaps, strict=False)
        ]
        rows.append({"hypotheses": hypotheses, "returned_with_nonzero_probability": len(possible), "best_after_merging_repeats": merged(list(possible[0].ids))})
    return rows


def other_ctc_beam(seed: int, width: int, top_n: int, *, is_log: bool, smooth: bool) -> Values:
    shape, lengths = (2, 13, 9), [13, 6]
    x = formula.array("made_up", shape, seed).astype(np.float64)
    if smooth:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        x = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / np.sqrt(3)
    x = 1.5 * x
    x[..., 0] += 1.25
    probabilities = np.exp(log_softmax(x)).astype(np.float32)
    decoder = {"beam_width": width, "cutoff_top_n": top_n, "cutoff_prob": 1.0, "blank_id": 0, "log_probs_input": is_log}
    recipe = {"array": "made_up", "shape": list(shape), "seed": seed, "scale": 1.5, "smooth": smooth, "blank_bias": 1.25}
    tensorflow = [tf_search(clip[:length], 4) for clip, length in zip(np.log(probabilities), lengths, strict=True)]
    case = {
        "name": "other",
        "input": recipe,
        "lengths": lengths,
        "decoder": decoder,
        "probabilities": formula.describe(probabilities, 7),
        "expected": slow_rows(np.log(probabilities), lengths, decoder),
        "tensorflow_ctc_beam_search_decoder": {"beam_4": [{"tokens": list(ids), "log_probability": score} for ids, score in tensorflow]},
    }
    values = load("ctc_beam")
    del values["edge"]
    return {**values, "cases": [case]}


@pytest.mark.parametrize(("seed", "width", "top_n"), [(3, 1, 9), (4, 6, 4), (5, 25, 40)])
@pytest.mark.parametrize(("is_log", "smooth"), [(False, True), (True, False)])
def test_other_cases_of_ctcdecode_pass(seed: int, width: int, top_n: int, is_log: bool, smooth: bool, tmp_path: Path) -> None:
    assert status(other_ctc_beam(seed, width, top_n, is_log=is_log, smooth=smooth), tmp_path) == Status.PASSED


def alter_token(row: Values) -> None:
    row["hypotheses"][1]["tokens"][0] += 1


def alter_timestep(row: Values) -> None:
    row["hypotheses"][2]["timesteps"][-1] += 1


def alter_score(row: Values) -> None:
    row["hypotheses"][0]["score"] += 3e-3


def alter_count(row: Values) -> None:
    row["returned_with_nonzero_probability"] -= 1


@pytest.mark.parametrize("alter", [alter_token, alter_timestep, alter_score, alter_count])
def test_an_altered_figure_is_a_miss(alter: Callable[[Values], None], tmp_path: Path) -> None:
    values = other_ctc_beam(4, 6, 9, is_log=False, smooth=True)
    alter(values["cases"][0]["expected"][0])
    assert status(values, tmp_path) == Status.MISSED


def test_other_rows_of_the_best_hypothesis_pass(tmp_path: Path) -> None:
    values = load("ctc_beam_decode")
    how = values["inputs"]["logits"]["how"]
    values["inputs"]["logits"]["how"] = (
        how.replace("+= 3.0", "+= 2.5").replace("0.5*themselves + 0.5*the", "0.75*themselves + 0.25*the").replace("seed=0", "seed=9")
    )
    values["config"]["beam_width"] = 4
    shape, lengths = (2, 9, 11), [9, 7]
    x = formula.array("logits.z", shape, 9) * np.float32(2.0)
    x[..., 0] += np.float32(2.5)
    x[:, 1::2] = np.float32(0.75) * x[:, 1::2] + np.float32(0.25) * x[:, 0:8:2]
    found = [prefix_search(log_softmax(clip[:length]), 4)[0] for clip, length in zip(x, lengths, strict=True)]
    row = {"name": "z", "B": 2, "T": 9, "num_classes": 11, "scale": 2.0, "lengths": lengths}
    row |= {"beam_tokens": [list(entry[0].ids) for entry in found], "beam_negative_log_score": [-entry[0].score for entry in found]}
    values["expected"]["rows"] = [row]
    assert status(values, tmp_path) == Status.PASSED
    row["beam_negative_log_score"][1] += 2e-3
    assert status(values, tmp_path) == Status.MISSED


def test_other_inputs_of_the_decoder_alone_pass(tmp_path: Path) -> None:
    x = np.float32(2.5) * formula.array("logits_x", (2, 15, 6), 4)
    x[..., 0] += 1.5
    found = [list(tf_search(clip[:length], 3)[0]) for clip, length in zip(x, [15, 2], strict=True)]
    made = "2.5*array('logits_x', (2, 15, 6), seed=4) then + 1.5 on class 0"
    values = load("ctc_beam_search")
    values["inputs"] = {"x": {"made": made, "layout": "batch, time, class; class 0 is the blank", "lengths": [15, 2]}}
    values["decoded"] = {"x": {"3": {"before_merging": found, "after_merging": [merged(ids) for ids in found]}}}
    assert status(values, tmp_path) == Status.PASSED
    values["inputs"]["x"]["layout"] = "batch, class, time"
    assert status(values, tmp_path) == Status.MISSED
