"""CorrNet's published parameter names (cslr_common.md, section 13) ↔ ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.corrnet.network import CorrNet
from models.errors import CheckpointError
from models.published.loading import Renames
from models.vac import published as family

RENAMES: Renames = (
    (r"^backbone\.correlations\.2\.", "conv2d.corr1."),
    (r"^backbone\.correlations\.3\.", "conv2d.corr2."),
    (r"^backbone\.correlations\.4\.", "conv2d.corr3."),
    (r"\.mix$", ".weights"),
    (r"\.direction$", ".weights2"),
    (r"\.reduce\.", ".down_conv."),
    (r"\.project\.", ".down_conv2."),
    (r"\.restore\.", ".conv_back."),
    (r"\.aggregate\.0\.", ".spatial_aggregation1."),
    (r"\.aggregate\.1\.", ".spatial_aggregation2."),
    (r"\.aggregate\.2\.", ".spatial_aggregation3."),
    (r"^backbone\.", "conv2d."),
    (r"^temporal\.", "conv1d.temporal_conv."),
    (r"^recurrent\.", "temporal_model."),
    (r"^conv_classifier\.", "conv1d.fc."),
)


def load(network: CorrNet, state: Mapping[str, Tensor]) -> None:
    """Fill `network` with a released state dict. Raises CheckpointError naming what doesn't fit."""
    state = family.without_module(state)
    alpha = state.get("conv2d.alpha")
    if alpha is not None and len(alpha) != len(network.options.stages):
        found = tuple(stage for stage in (2, 3, 4) if f"conv2d.corr{stage - 1}.weights" in state)
        raise CheckpointError(f"correlation blocks after the stages {found}, this network has them after {network.options.stages}: set stages to {found}")
    family.load(network, state, to_published=RENAMES, repeats=_repeats(network))


def export(network: CorrNet) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it."""
    return family.export(network, to_published=RENAMES, repeats=_repeats(network), shape=family.conv2d_shape)


def _repeats(network: CorrNet) -> dict[str, str]:
    names = [name for name, _ in network.classifier.named_parameters()] if network.conv_classifier is None else []
    return {f"conv1d.fc.{name}": f"classifier.{name}" for name in names}
