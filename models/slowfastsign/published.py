"""SlowFastSign's published parameter names (slowfastsign.md, section 7) ↔ ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from models.published.loading import Renames
from models.slowfastsign.network import BRANCHES, SlowFastSign
from models.vac import published as family

# Names of the backbone's parts stand nowhere else, so these serve the network and, for the pre-training file, the backbone alone.
BACKBONE_RENAMES: Renames = (
    (r"\bstem\.slow\.", "s1.pathway0_stem.conv."),
    (r"\bstem\.slow_norm\.", "s1.pathway0_stem.bn."),
    (r"\bstem\.fast\.", "s1.pathway1_stem.conv."),
    (r"\bstem\.fast_norm\.", "s1.pathway1_stem.bn."),
    *((rf"\bstages\.{index}\.", f"s{index + 2}.") for index in range(4)),
    *((rf"\bfusions\.{index}\.", f"s{index + 1}_fuse.") for index in range(4)),
    (r"\b(s\d)\.slow\.(\d+)\.", r"\1.pathway0_res\2."),
    (r"\b(s\d)\.fast\.(\d+)\.", r"\1.pathway1_res\2."),
    (r"(_res\d+)\.shortcut\.", r"\1.branch1."),
    (r"(_res\d+)\.shortcut_norm\.", r"\1.branch1_bn."),
    (r"(_res\d+)\.([abc])\.", r"\1.branch2.\2."),
    (r"(_res\d+)\.([abc])_norm\.", r"\1.branch2.\2_bn."),
    (r"_fuse\.slow_weight$", "_fuse.weight_s"),
    (r"_fuse\.fast_weight$", "_fuse.weight_f"),
    (r"_fuse\.to_slow\.", "_fuse.conv_f2s."),
    (r"_fuse\.to_slow_norm\.", "_fuse.bn."),
    (r"_fuse\.to_fast\.", "_fuse.conv_s2f."),
    (r"_fuse\.to_fast_norm\.", "_fuse.bn2."),
)
RENAMES: Renames = (
    *BACKBONE_RENAMES,
    (r"^backbone\.", "conv2d."),
    (r"^temporal\.(\w+)\.", r"conv1d.\1_temporal_conv."),
    (r"^recurrent\.", "temporal_model."),
    (r"^classifiers\.", "classifier."),
    (r"^conv_classifiers\.", "conv1d.fc."),
)


def load(network: SlowFastSign, state: Mapping[str, Tensor]) -> None:
    """Fill `network` with a released state dict. Raises CheckpointError naming what doesn't fit."""
    family.load(network, state, to_published=RENAMES, repeats=_repeats(network))


def export(network: SlowFastSign) -> dict[str, Tensor]:
    """The state dict of `network` as the published program reads it."""
    return family.export(network, to_published=RENAMES, repeats=_repeats(network), shape=family.conv2d_shape)


def _repeats(network: SlowFastSign) -> dict[str, str]:
    names = [name for name, _ in network.classifiers[0].named_parameters()]
    if network.options.share_classifier == "none":
        return {}
    sources = [0 if network.options.share_classifier == "all" else index for index in range(len(BRANCHES))]
    repeats = {f"conv1d.fc.{index}.{name}": f"classifier.{source}.{name}" for index, source in enumerate(sources) for name in names}
    return repeats | {f"classifier.{index}.{name}": f"classifier.{source}.{name}" for index, source in enumerate(sources) if index != source for name in names}
