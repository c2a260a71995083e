"""What the kinds `slowfastsign`, `mstfnet`, `mstfnet_shared` and `corrnet` have in common: frames by recipe, collated; losses by published names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.batch import Heads
from models.errors import ParityError
from models.losses.alignment import alignment_losses
from models.vac.temporal import TemporalLayout
from tests.parity import formula
from tests.parity.case import Case, recipe_match
from tests.parity.comparison import Report

CLIP = (
    "clip({fine}*F + {coarse}*C + {tone}*D, {low}, {high}) in float32: F = formula.array('{name:text}', ({frames},3,{height},{width}), seed={seed}); "
    "C = formula.array('{name_coarse:text}', ({frames_coarse},3,{rows},{columns}), seed={seed_coarse}) "
    "with every value repeated {times} times along height and width; "
    "D = formula.array('{name_tone:text}', ({frames_tone},3,1,1), seed={seed_tone}) broadcast"
)


def make_inputs(case: Case, layout: TemporalLayout) -> tuple[Tensor, Tensor]:
    """Frames (B, T, 3, H, W) collated as published, longest first, and the padded lengths (B,)."""
    names = [name for name in case.inputs if name.startswith("clip")]
    clips = sorted((make_clip(case.inputs[name]["how"]) for name in names), key=len, reverse=True)
    if not clips:
        raise ParityError("inputs holds no clip0")
    lengths = torch.tensor([len(clip) for clip in clips])
    index = layout.frame_index(lengths)
    return torch.stack([clip[places] for clip, places in zip(clips, index, strict=True)]), layout.padded_length(lengths)


def make_clip(how: str) -> Tensor:
    """Frames (T, 3, H, W) by their recipe."""
    text = recipe_match(CLIP, how)
    frames, height, width, times = (int(text[key]) for key in ("frames", "height", "width", "times"))
    fine = formula.array(text["name"], (frames, 3, height, width), int(text["seed"]))
    coarse = formula.array(text["name_coarse"], (frames, 3, int(text["rows"]), int(text["columns"])), int(text["seed_coarse"]))
    tone = formula.array(text["name_tone"], (frames, 3, 1, 1), int(text["seed_tone"]))
    mixed = np.float32(text["fine"]) * fine + np.float32(text["coarse"]) * coarse.repeat(times, 2).repeat(times, 3) + np.float32(text["tone"]) * tone
    return torch.from_numpy(np.clip(mixed, np.float32(text["low"]), np.float32(text["high"])))


def targets(case: Case) -> tuple[Tensor, Tensor]:
    """Recorded targets (B, L), padded with 0, and their lengths (B,)."""
    record = case["losses_targets"]
    lengths = torch.tensor(record["label_lgt"])
    clips = torch.tensor(record["label"]).split(record["label_lgt"])
    return torch.nn.utils.rnn.pad_sequence(list(clips), batch_first=True), lengths


def loss_terms(case: Case, heads: Heads, teachers: Mapping[str, str]) -> dict[str, Tensor]:
    """Our terms by our names."""
    return alignment_losses(heads, *targets(case), teachers=teachers)


def watch(modules: Mapping[str, nn.Module]) -> tuple[dict[str, Any], list[Any]]:
    """What each module gives, by the name in `modules`, and the hooks that see it."""
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[name] = output

        return hook

    return seen, [module.register_forward_hook(keep(name)) for name, module in modules.items()]


def clip_volumes(x_NCHW: Tensor, num_clips: int) -> Tensor:
    """(N, C, H, W) of clips of one length → (B, C, T, H, W), as published."""
    return x_NCHW.unflatten(0, (num_clips, -1)).transpose(1, 2)


def time_major(x_BSD: Tensor) -> Tensor:
    return x_BSD.transpose(0, 1)


def compare(case: Case, report: Report, seen: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> None:
    report.compare_all("expected", seen, case.expected)
    report.compare_all("losses", losses, case["losses"])
