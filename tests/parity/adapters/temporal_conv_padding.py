"""Kind `temporal_conv_padding`: lengths and padding of every temporal convolution type, with the modules run on tensors of these lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from models.mstfnet.lift_pool import lifting_conv1d
from models.mstfnet.network import LIFTED_STEPS
from models.vac.sequence import checked_steps, temporal_conv1d
from models.vac.temporal import TemporalLayout
from tests.parity.case import Case, Record
from tests.parity.comparison import Report

Build = Callable[[int, int, TemporalLayout], nn.Module]


def run(case: Case, report: Report) -> None:
    for key, build, least in (("rows", temporal_conv1d, 1), ("rows_mstfnet_lift_pool", lifting_conv1d, LIFTED_STEPS)):
        for index, row in enumerate(case.expected.get(key, [])):
            wanted = {name: value for name, value in row.items() if name not in ("conv_type", "raw_lengths", "feat_len_dtype")}
            found = measured(row, build, least)
            report.compare_exact(f"expected.{key}[{index}]", {name: found.get(name) for name in wanted}, dict(wanted))


def measured(row: Record, build: Build, least_steps: int) -> dict[str, Any]:
    """What our arithmetic and our module say of a row."""
    layout = TemporalLayout.of(row["conv_type"])
    raw = row["raw_lengths"]
    order = sorted(range(len(raw)), key=lambda clip: -raw[clip])
    lengths = torch.tensor([raw[clip] for clip in order])
    index, own = layout.frame_index(lengths), layout.padded_length(lengths)
    found: dict[str, Any] = {
        "layers": [f"{'P' if layer.pools else 'K'}{layer.size}" for layer in layout.layers],
        "order": order,
        "padded_frames": index.shape[1],
        "len_x": own.tolist(),
        # A clip of one frame doesn't show how often it was repeated on the left.
        "left_pad": [layout.left if length > 1 else None for length in lengths.tolist()],
        "frame_index_of_each_padded_frame": index.tolist() if row.get("frame_index_of_each_padded_frame") else None,
    }
    try:
        checked_steps(layout, torch.tensor([index.shape[1]]), least_steps=least_steps if any(layer.pools for layer in layout.layers) else 1)
    except ValueError:
        return found | {"module_error": row.get("module_error", "ValueError")}  # refused, by whatever error the published program stops
    with torch.no_grad():
        outputs = build(1, 1, layout).eval()(torch.zeros(1, 1, index.shape[1]))
    return found | {"feat_len": [float(steps) for steps in layout.output_length(own).tolist()], "module_output_frames": outputs.shape[2]}
