"""Kind `keypoint_heatmaps`: selection of points, Gaussian maps, evaluation resize, training crop."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.inputs.crops import Crop, Size, central_on_map
from models.inputs.heatmaps import heatmaps, selected_points
from tests.parity import formula
from tests.parity.case import Case, Record, recipe_match
from tests.parity.comparison import Report

POINTS = (
    "a = array('{name:text}', ({frames}, {points}, {axes}), seed={seed}); x = {width}*({x_bias}+{x_scale}*a[...,0]); "
    "y = {height}*({y_bias}+{y_scale}*a[...,1]); confidence = clip({c_bias}+{c_scale}*a[...,2], {low}, {high}); float32; points may lie outside the frame"
)


def run(case: Case, report: Report) -> None:
    config = case.config
    points = selected_points(config["use_keypoints"])
    report.compare_exact("config.selection_order", points, config["selection_order"])
    selected = _keypoints(case.inputs["keypoints"])[:, list(points)]
    cfg, video = config["heatmap_cfg"], _size(config["video_frame_size"])
    frame, side = _size(cfg["raw_size"]), cfg["input_size"]
    map_size = _size(cfg["map_size"]) if cfg.get("map_size") else frame
    transform, drawn = config["transform_cfg"], config["train_crop_in_video_pixels"]
    training = Crop(top=drawn["top"], left=drawn["left"], height=drawn["height"], width=drawn["width"]).scaled(video, map_size)
    report.compare_exact("config.train_crop_in_map_pixels", [training.top, training.left, training.height, training.width], config["train_crop_in_map_pixels"])
    evaluation = central_on_map(video, map_size, transform["center_crop_size"]) if transform["center_crop"] else None

    def maps(crop: Crop | None, out: Size | None) -> Tensor:
        return heatmaps(selected[None], frame, sigma=cfg["sigma"], map_size=map_size, crop=crop, out=out)

    raw = maps(None, None).transpose(1, 2)
    ours = {"selected_points": selected} | _with_sums("raw_heatmaps", raw, points_axis=2)
    for name, crop in (("network_input_eval", evaluation), ("network_input_train_crop", training)):
        ours |= _with_sums(name, maps(crop, (side, side)) * 2 - 1, points_axis=1)
    report.compare_all("expected", ours, case.expected)


def _with_sums(name: str, maps: Tensor, *, points_axis: int) -> dict[str, Tensor]:
    return {name: maps, f"{name}_sum_over_points": maps.sum(points_axis), f"{name}_sum_over_rows": maps.sum(3)}


def _keypoints(entry: Record) -> Tensor:
    recipe = recipe_match(POINTS, entry["made"])
    a = formula.array(recipe["name"], [int(recipe[axis]) for axis in ("frames", "points", "axes")], int(recipe["seed"]))
    number = {name: np.float32(value) for name, value in recipe.items() if name != "name"}
    x = number["width"] * (number["x_bias"] + number["x_scale"] * a[..., 0])
    y = number["height"] * (number["y_bias"] + number["y_scale"] * a[..., 1])
    confidence = np.clip(number["c_bias"] + number["c_scale"] * a[..., 2], number["low"], number["high"])
    return torch.from_numpy(np.stack([x, y, confidence], axis=-1))


def _size(pair: list[int]) -> Size:
    return pair[0], pair[1]
