"""Kind `dsta_streams`: the four streams and their input transform, and what true bones would be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.dsta_slr.skeleton import MIRRORED
from models.dsta_slr.streams import Stream, centred, evaluation_frames, mirrored, view
from models.errors import ParityError
from tests.parity import formula
from tests.parity.case import Case, recipe_values
from tests.parity.comparison import Report

INTENDED = {"bone_unaliased": Stream.TRUE_BONE, "bone_motion_unaliased": Stream.TRUE_BONE_MOTION}


def run(case: Case, report: Report) -> None:
    report.compare_exact("config.flip_index", list(MIRRORED), case.config["flip_index"])
    skeletons = make_skeletons(case)
    for part in ("expected", "intended"):
        wanted = case.get(part, {})
        report.compare_all(part, {name: _published_layout(transformed(skeletons, name, case)) for name in wanted}, wanted)


def make_skeletons(case: Case) -> NDArray[np.float32]:
    """(N, T, J, 3) by the case's recipe."""
    record = case.inputs["skeletons"]
    numbers = recipe_values(
        "x = formula.array('skeletons', shape, seed); channel 0 = {left} + {wide}*x; channel 1 = {top} + {high}*x; "
        "channel 2 = clip({sure} + {spread}*x, {least}, {most}); float32",
        record["how"],
    )
    x = formula.array("skeletons", tuple(record["shape"]), case.seed)[..., 0]
    confidence = np.clip(numbers["sure"] + numbers["spread"] * x[:, 2], numbers["least"], numbers["most"])
    values = np.stack([numbers["left"] + numbers["wide"] * x[:, 0], numbers["top"] + numbers["high"] * x[:, 1], confidence], axis=-1)
    return values.astype(np.float32)


def transformed(skeletons: NDArray[np.float32], name: str, case: Case) -> NDArray[np.float32]:
    """What the output `name`, as `bone.mirrored`, calls for."""
    stream, _, form = name.partition(".")
    seen = view(skeletons, INTENDED.get(stream) or Stream(stream))
    seen = seen[:, evaluation_frames(seen.shape[1], case.config["window_size"])]
    width = case.config["image_width"]
    if form == "raw":
        return seen
    if form == "test":
        return centred(seen)
    if form == "mirrored":
        return centred(mirrored(seen, frame_width=width))
    if form == "vector_mode":
        return centred(mirrored(seen, frame_width=width, is_vector=True), is_vector=True)
    raise ParityError(f"{name}: this adapter knows no form {form!r}")


def _published_layout(seen: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, T, J, 3) → (N, 3, T, J, 1)."""
    return seen.transpose(0, 3, 1, 2)[..., None]
