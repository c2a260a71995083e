"""Kind `twostream_sampling`: frame indices in evaluation, and in training with numpy's legacy draws."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from models.inputs.sampling import evaluation_frames, training_frames
from tests.parity.case import Case, recipe_values
from tests.parity.comparison import Report

TRAINING = "{frames} frames, legacy global numpy seed {seed}"
SHOWN = 12  # indices that a record shows at either end


class LegacyDraws:
    """The draws of a Generator made with numpy's legacy functions, whose numbers the case records."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def integers(self, low: int, high: int, size: int | None = None) -> Any:
        return self._state.randint(low, high, size)

    def permutation(self, count: int) -> np.ndarray:
        return self._state.permutation(count)


def run(case: Case, report: Report) -> None:
    longest = case.config["max_num_frames"]
    for frames, wanted in case["evaluation"].items():
        chosen = evaluation_frames(int(frames), max_frames=longest)
        report.compare_all(f"evaluation.{frames}", {"first": int(chosen[0]), "last": int(chosen[-1]), "count": len(chosen)}, wanted)
    for name, wanted in case["training"].items():
        numbers = recipe_values(TRAINING, name)
        draws = cast(np.random.Generator, LegacyDraws(int(numbers["seed"])))
        chosen = training_frames(int(numbers["frames"]), draws, shortest=case.config["tmin"], longest=case.config["tmax"], max_frames=longest)
        ours = {"count": len(chosen), "sum": int(chosen.sum()), "head": chosen[:SHOWN].tolist(), "tail": chosen[-SHOWN:].tolist()}
        report.compare_all(f"training.{name}", ours, wanted)
