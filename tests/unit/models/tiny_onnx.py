"""ONNX files that are small enough to make in each test: a pose network that looks for coloured dots, a person detector that looks for light."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

NUM_POINTS = 133
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)  # of the dots: point k looks for colour k % 3
POSE_SIZE = (48, 64)  # width, height
BINS_PER_PIXEL = 2


def write_pose_model(path: Path, *, num_points: int = NUM_POINTS, batch: int | None = None, outputs: tuple[str, ...] = ("simcc_x", "simcc_y")) -> Path:
    """A network as RTMPose's: normalised pictures in, SimCC over columns and rows out; each peaks where the point's colour is purest."""
    filters = np.array([np.where(np.arange(3) == point % 3, 0.2, -0.2) for point in range(num_points)], np.float32)
    constants = {
        "filters": filters[:, :, None, None],
        "rows": np.array([2]),
        "columns": np.array([3]),
        "scales": np.array([1, 1, BINS_PER_PIXEL], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "filters"], ["seen"]),
        *(helper.make_node("ReduceMax", ["seen", over], [f"max_{name}"], keepdims=0) for name, over in (("simcc_x", "rows"), ("simcc_y", "columns"))),
        *(
            helper.make_node("Resize", [f"max_{name}", "", "scales"], [name], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
            for name in ("simcc_x", "simcc_y")
        ),
    ]
    return _save(path, nodes, constants, (batch or "batch", 3, POSE_SIZE[1], POSE_SIZE[0]), dict.fromkeys(outputs, (batch or "batch", num_points, None)))


def write_detector(path: Path, boxes: np.ndarray, labels: list[int], *, size: int = 64) -> Path:
    """A detector as mmdeploy's that answers the same `boxes` (N, 5: corners in input pixels, score) to every picture."""
    constants = {"boxes": boxes[None].astype(np.float32), "known": np.array([labels]), "zero": np.float32(0), "axes": np.array([1, 2, 3])}
    nodes = [
        helper.make_node("ReduceSum", ["input", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["boxes", "nothing"], ["dets"]),
        helper.make_node("Identity", ["known"], ["labels"]),
    ]
    return _save(path, nodes, constants, (1, 3, size, size), {"dets": (1, len(boxes), 5), "labels": (1, len(labels))})


def dots(places: np.ndarray, size: tuple[int, int], *, radius: int = 2) -> np.ndarray:
    """uint8 RGB pictures (T, height, width, 3) of three dots, of COLOURS, at places (T, 3, 2) in pixels."""
    y, x = np.mgrid[: size[1], : size[0]]
    pictures = np.full((len(places), size[1], size[0], 3), 90, np.uint8)
    for picture, centres in zip(pictures, places, strict=True):
        for (centre_x, centre_y), colour in zip(centres, COLOURS, strict=True):
            picture[(np.abs(x - centre_x) <= radius) & (np.abs(y - centre_y) <= radius)] = colour
    return pictures


def _save(path: Path, nodes: list, constants: dict[str, np.ndarray], shape: tuple, outputs: dict[str, tuple]) -> Path:
    kinds = {"labels": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model)
    save(model, path)
    return path
