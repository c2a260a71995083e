"""The training loop on clips of pictures: systems that read them learn four clips by heart at toy width."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.workloads.filmed import coloured_clips, run_filmed
from workloads.recipe import parse_recipe
from workloads.training.checkpoints import CHECKPOINTS, checkpoints, read_position
from workloads.training.events import EVENTS, read_events
from workloads.training.loop import Outcome

# DeepSpeed's ZeRO uses what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning"),
]
SIDE = 32
SENTENCES = (("A", "B"), ("C", "D"), ("E",), ("F", "A"))
VAC = {"inputs": {"size": SIDE, "crop": SIDE, "mirror_probability": 0, "rescale": 0}}
COMMON = {"frame_size": SIDE, "hidden_size": 32, "width": 16, "dropout": 0}
# Twice the side: at 32 pixels the last norms of a keypoint stream see 12 values a channel (models/s3d/README.md, batch norms).
STREAM_SIDE = 2 * SIDE
STREAM_HEAD = {"hidden_size": 32, "ff_size": 32, "dropout": 0}
TRUNK = {"width": 0.0625, "frozen_blocks": 0, "norm_momentum": 0.2}
MAPS = {**TRUNK, "in_channels": 11}
STREAMS = {
    "side": STREAM_SIDE,
    "video_size": [STREAM_SIDE, STREAM_SIDE],
    "map_size": [STREAM_SIDE, STREAM_SIDE],
    "sigma": 6,
    "parts": ["pose"],
    "shortest": 1,
    "longest": 1,
    "crop_area": [1, 1],
    "crop_ratio": [1, 1],
    "jitter_share": 0,
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "corrnet": {**VAC, "network": COMMON},
    "mstfnet": {**VAC, "network": {**COMMON, "depth": 18, "level_size": 20}},
    "slowfastsign": {**VAC, "network": {**COMMON, "depth": 50, "feature_dropout": 0}},
    "rgb": {"system": "singlestream_slr", "inputs": STREAMS, "network": {"trunk": TRUNK, "head": STREAM_HEAD}},
    "keypoint": {
        "system": "singlestream_slr",
        "inputs": {**STREAMS, "stream": "keypoint"},
        "network": {"stream": "keypoint", "trunk": MAPS, "head": STREAM_HEAD},
    },
    "twostream": {"system": "twostream_slr", "inputs": STREAMS, "network": {"rgb": TRUNK, "keypoint": MAPS, "head": STREAM_HEAD}},
}
STEPS = {"rgb": 40, "keypoint": 70, "twostream": 40}


@pytest.mark.parametrize("case", SYSTEMS)
def test_four_clips_are_learned_by_heart(case: str, tmp_path: Path) -> None:
    steps, streams = STEPS.get(case, 70), case in STEPS
    values = {
        "recipe": "toy",
        "system": case,
        "data": {"shards": "none"},
        **SYSTEMS[case],
        "optim": {"lr": 1e-2, "weight_decay": 0, "schedule": "one_cycle", "betas": [0.9, 0.99]},
        "train": {"epochs": steps, "batch_size": 4, "num_workers": 0},
        "validation": {"every_epochs": steps},
    }
    films = coloured_clips(SENTENCES, side=STREAM_SIDE if streams else SIDE)
    assert run_filmed(parse_recipe(values, where="toy"), tmp_path, films, films) == Outcome(step=steps, finished=True)
    events = read_events(tmp_path / EVENTS)
    scores = read_position(checkpoints(tmp_path / CHECKPOINTS)[0]).scores
    assert (max if streams else min)(scores.values()) == 0, (scores, events[-3]["terms"])
    assert next(iter(scores.values())) == 0
