"""Kind `mska_collate`: evaluation batches from pixel keypoints."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import torch

from models.batch import valid_steps
from models.inputs.clip import Clip
from models.inputs.keypoints import KeypointInputs, normalised
from models.inputs.targets import with_sentences
from models.vocabulary import Vocabulary
from tests.parity import formula
from tests.parity.case import NUMBER, Case, recipe_part
from tests.parity.comparison import Report


def run(case: Case, report: Report) -> None:
    config = case.config
    vocabulary = _vocabulary(config["vocabulary"], lower_case="phoenix-2014t" in config["dataset"].lower() or "csl" in config["dataset"].lower())
    clips = [_clip(case, name) for name in case["inputs"]]
    options = KeypointInputs(max_frames=config["clip_len"])
    batch = with_sentences(options.evaluation_batch(clips), clips, vocabulary)
    steps = (batch.lengths + 1) // 2
    steps = (steps + 1) // 2
    assert batch.targets is not None
    assert batch.target_lengths is not None
    angles = [name for name in case["expected"] if name.startswith("rotated_")]
    ours = {
        "keypoint": normalised(batch).permute(0, 3, 1, 2),
        "mask": valid_steps(steps, int(steps.max()))[:, None, :],
        **{name: _rotated(batch, name) for name in angles},
    }
    report.compare_all("expected", ours, case["expected"])
    frames = [options.evaluation_frames(clip.num_frames) for clip in clips]
    values = {
        "src_length": batch.lengths,
        "new_src_lengths": steps,
        "gloss_labels": batch.targets,
        "gls_lengths": batch.target_lengths,
        "first_and_last_frame_index": [[int(indices[0]), int(indices[-1])] for indices in frames],
    }
    report.compare_all("values", values, case["values"])


def _rotated(batch, name: str) -> torch.Tensor:  # type: ignore[no-untyped-def]
    match = re.fullmatch(rf"rotated_first_sample_(plus|minus)_({NUMBER})_degrees", name)
    if match is None:
        raise ValueError(f"unknown output {name!r}")
    angle = math.radians(float(match[2])) * (1 if match[1] == "plus" else -1)
    turned = replace(batch, rotations=torch.full_like(batch.rotations, angle))
    return normalised(turned)[:1, ..., :2].permute(0, 3, 1, 2)


def _clip(case: Case, name: str) -> Clip:
    record, config = case["inputs"][name], case.config
    x = formula.array(name, tuple(record["shape"]), case.seed)
    centre_x, spread_x = recipe_part("[...,0] = width*({} {+}*x0)", record["how"])
    centre_y, spread_y = recipe_part("[...,1] = height*({} {+}*x1)", record["how"])
    centre, spread, low, high = recipe_part("[...,2] = clip({} {+}*x2, {}, {})", record["how"])
    values = np.stack(
        [
            config["width"] * (centre_x + spread_x * x[..., 0]),
            config["height"] * (centre_y + spread_y * x[..., 1]),
            np.clip(centre + spread * x[..., 2], low, high),
        ],
        axis=-1,
    )
    return Clip(name=name, keypoints=values.astype(np.float32), frame_size=(config["width"], config["height"]), glosses=tuple(record["gloss"].split()))


def _vocabulary(ids: dict[str, int], *, lower_case: bool) -> Vocabulary:
    """The case's vocabulary, whose ids may have gaps, with glosses in the spelling of its tokeniser."""
    named = {index: gloss.lower() if lower_case else gloss for gloss, index in ids.items()}
    return Vocabulary(entries=tuple(named.get(index, f"<unused{index}>") for index in range(max(named) + 1)), lower_case=lower_case)
