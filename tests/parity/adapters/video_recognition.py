"""What the cases of the TwoStream recognisers have in common: their inputs, and how their logits are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.decoding.beam_search import tf_beam_search
from models.decoding.repeats import merge_repeats
from models.errors import ParityError
from models.inputs.crops import Size, central, central_on_map
from models.inputs.heatmaps import heatmaps
from models.inputs.pictures import resized, stream_input
from models.mska.config import HeadOptions
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report

VIDEOS = (
    "clip({bias} + {scale}*array('{name:text}', ({clips}, {frames}, {channels}, {height}, {width}), seed={seed}), {low}, {high}) as float32; "
    "frame t of a shorter sample, t >= its length, is replaced by its last valid frame"
)
KEYPOINTS = (
    "a = array('{name:text}', ({clips}, {frames}, {points}, {axes}), seed={seed}); x = clip({width}*({x_bias}+{x_scale}*a[...,0]), {x_low}, {x_high}); "
    "y = clip({height}*({y_bias}+{y_scale}*a[...,1]), {y_low}, {y_high}); confidence = clip({c_bias}+{c_scale}*a[...,2], {c_low}, {c_high}); "
    "all in float32; frames past a sample's length replaced by its last valid frame"
)


def videos(entry: Record, lengths: list[int]) -> Tensor:
    """Frames (B, T, 3, H, W) in [0, 1]."""
    recipe = recipe_match(VIDEOS, entry["made"])
    raw = formula.array(recipe["name"], [int(recipe[axis]) for axis in ("clips", "frames", "channels", "height", "width")], int(recipe["seed"]))
    bias, scale, low, high = (np.float32(recipe[name]) for name in ("bias", "scale", "low", "high"))
    return torch.from_numpy(_repeated(np.clip(bias + scale * raw, low, high), lengths))


def keypoints(entry: Record, lengths: list[int]) -> Tensor:
    """The selected points (B, T, K, 3)."""
    recipe = recipe_match(KEYPOINTS, entry["made"])
    raw = formula.array(recipe["name"], [int(recipe[axis]) for axis in ("clips", "frames", "points", "axes")], int(recipe["seed"]))
    number = {name: np.float32(value) for name, value in recipe.items() if name != "name"}
    x = np.clip(number["width"] * (number["x_bias"] + number["x_scale"] * raw[..., 0]), number["x_low"], number["x_high"])
    y = np.clip(number["height"] * (number["y_bias"] + number["y_scale"] * raw[..., 1]), number["y_low"], number["y_high"])
    confidence = np.clip(number["c_bias"] + number["c_scale"] * raw[..., 2], number["c_low"], number["c_high"])
    return torch.from_numpy(_repeated(np.stack([x, y, confidence], axis=-1), lengths))


def _repeated(clips: np.ndarray, lengths: list[int]) -> np.ndarray:
    for clip, length in zip(clips, lengths, strict=True):
        clip[length:] = clip[length - 1]
    return clips


def video_input(case: Case, frames_BTCHW: Tensor) -> Tensor:
    """What the RGB stream reads in evaluation."""
    transform = case.config["transform_cfg"]
    side, crop = transform["img_size"], transform["center_crop_size"]
    frame: Size = (frames_BTCHW.shape[3], frames_BTCHW.shape[4])
    return stream_input(resized(frames_BTCHW, (side, side), central(frame, (crop, crop)) if transform["center_crop"] else None))


def heatmap_input(case: Case, points_BTKC: Tensor, video: Size) -> tuple[Tensor, Tensor]:
    """The maps at their own size (B, T, K, H, W), and what the keypoint stream reads in evaluation."""
    transform, cfg = case.config["transform_cfg"], case.config["RecognitionNetwork"]["heatmap_cfg"]
    frame: Size = (cfg["raw_size"][0], cfg["raw_size"][1])
    map_size: Size = (cfg["map_size"][0], cfg["map_size"][1]) if cfg.get("map_size") else frame
    crop = central_on_map(video, map_size, transform["center_crop_size"]) if transform["center_crop"] else None
    side = cfg["input_size"]
    raw = heatmaps(points_BTKC, frame, sigma=cfg["sigma"], map_size=map_size)
    return raw.transpose(1, 2), heatmaps(points_BTKC, frame, sigma=cfg["sigma"], map_size=map_size, crop=crop, out=(side, side)) * 2 - 1


def head_options(head: Record) -> HeadOptions:
    kernels = head["ff_kernelsize"]
    return HeadOptions(hidden_size=head["hidden_size"], ff_size=head["ff_size"], ff_kernels=(kernels[0], kernels[1]), position=head["pe"])


def targets(case: Case) -> tuple[Tensor, Tensor]:
    labels = case.inputs["gloss_labels"]
    return torch.tensor(labels["value"]), torch.tensor(labels["lengths"])


def compare_decoded(case: Case, logits: Mapping[str, Tensor], lengths: Mapping[str, Tensor], report: Report) -> None:
    """The searches' answers for every head and width that the case lists."""
    for name, widths in case["decoded"]["value"].items():
        if name not in logits:
            raise ParityError(f"decoded.value.{name}: no such logits here; there are {', '.join(logits)}")
        found: dict[str, Any] = {}
        for width in {key.removesuffix("_raw") for key in widths}:
            answers = [ids for ids, _ in tf_beam_search(logits[name], lengths[name], beam_width=int(width), blank=case.config["blank"])]
            found |= {width: [merge_repeats(ids) for ids in answers], f"{width}_raw": answers}
        report.compare_all(f"decoded.value.{name}", found, widths)


def frame_size(case: Case) -> Size:
    """Of the video, which keypoint streams without one are told too."""
    height, width = case.config["frame_size"]
    return height, width
