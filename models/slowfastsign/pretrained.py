"""The pre-training file of SlowFast (`SLOWFAST_64x2_R101_50_50.pkl`, Caffe2's names) → our backbone (slowfastsign.md, section 6).

It was trained with connections that concatenate, so some entries have other shapes than here; what becomes of each is in the report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import CheckpointError, CorpusError
from models.pickles import load_pickle
from models.published.loading import Renames, renamed
from models.slowfastsign.backbone import Backbone
from models.slowfastsign.published import BACKBONE_RENAMES
from models.vac.published import conv3d_shape

NORM_PARTS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
FUSION_STAGES = {"pool1": 1, "res2": 2, "res3": 3, "res4": 4}
_NORM = "(" + "|".join(NORM_PARTS) + ")"


@dataclass(frozen=True, kw_only=True)
class Resized:
    """An entry whose shape in the file isn't ours."""

    blob: str
    entry: str
    file_shape: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """What became of a file's blobs, by the published names of our entries.

    names: blob → entry, of all that have a counterpart. unused: blobs without one. not_copied: blobs whose shape can't be made to fit.
    cut: of more input channels than ours, of which the first are kept. filled: of fewer, which fill the front. tiled: repeated end to end.
    initial: entries, counters aside, that keep what they held.
    """

    names: Mapping[str, str]
    unused: tuple[str, ...]
    not_copied: tuple[str, ...]
    cut: tuple[Resized, ...]
    filled: tuple[Resized, ...]
    tiled: tuple[Resized, ...]
    initial: tuple[str, ...]

    def __str__(self) -> str:
        kept = len(self.names) - len(self.not_copied)
        return f"{kept} entries read ({len(self.cut)} cut, {len(self.tiled)} repeated), {len(self.initial)} left as they were, {len(self.unused)} blobs unused"


def read_blobs(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name. Raises CheckpointError; never runs code of the file."""
    try:
        record = load_pickle(path, encoding="latin1")
    except CorpusError as error:
        raise CheckpointError(str(error)) from None
    blobs = record.get("blobs") if isinstance(record, dict) else None
    if not isinstance(blobs, dict) or not blobs:
        raise CheckpointError(f"{path}: not a pre-training file: a dict with the entry 'blobs' was expected")
    return {name: np.asarray(value) for name, value in blobs.items()}


def load_pretrained(backbone: Backbone, blobs: Mapping[str, np.ndarray]) -> ImportReport:
    """Fill `backbone` with what fits. Raises CheckpointError where nothing does."""
    ours = {renamed(name, BACKBONE_RENAMES): value for name, value in backbone.state_dict().items()}
    names = {blob: entry for blob in blobs if (entry := entry_name(blob)) in ours}
    filled: dict[str, Tensor] = {}
    resized: dict[str, list[Resized]] = {"cut": [], "filled": [], "tiled": []}
    for blob, entry in names.items():
        shape = conv3d_shape("", entry, ours[entry])
        value, change = fitted(torch.as_tensor(blobs[blob]), ours[entry].reshape(shape))
        if value is not None:
            filled[entry] = value
        if change in resized:
            resized[change].append(Resized(blob=blob, entry=entry, file_shape=tuple(blobs[blob].shape), shape=shape))
    if not filled:
        raise CheckpointError("not this backbone's pre-training file: no blob has one of its names")
    with torch.no_grad():
        for entry, value in filled.items():
            ours[entry].copy_(value.reshape(ours[entry].shape))
    return ImportReport(
        names=names,
        unused=tuple(blob for blob in blobs if blob not in names),
        not_copied=tuple(blob for blob, entry in names.items() if entry not in filled),
        initial=tuple(entry for entry in ours if entry not in filled and not entry.endswith("num_batches_tracked")),
        **{change: tuple(entries) for change, entries in resized.items()},
    )


PARTS: Renames = (
    (r"^(t_)?conv1_w$", r"s1.\1stem.conv.weight"),
    (rf"^(t_)?res_conv1_bn_{_NORM}$", r"s1.\1stem.bn.\2"),
    (r"^t_(pool1|res\d)(?:_\d+_branch2c_bn)?_subsample_w$", r"\1_fuse.conv_f2s.weight"),
    (rf"^t_(pool1|res\d)(?:_\d+_branch2c_bn)?_subsample_bn_{_NORM}$", r"\1_fuse.bn.\2"),
    (r"^(t_)?res(\d)_(\d+)_branch1_w$", r"s\2.\1res\3.branch1.weight"),
    (rf"^(t_)?res(\d)_(\d+)_branch1_bn_{_NORM}$", r"s\2.\1res\3.branch1_bn.\4"),
    (r"^(t_)?res(\d)_(\d+)_branch2([abc])_w$", r"s\2.\1res\3.branch2.\4.weight"),
    (rf"^(t_)?res(\d)_(\d+)_branch2([abc])_bn_{_NORM}$", r"s\2.\1res\3.branch2.\4_bn.\5"),
    (r"\.t_(stem|res)", r".pathway1_\1"),
    (r"^(s\d)\.(stem|res)", r"\1.pathway0_\2"),
    *((rf"^{blob}_fuse\.", f"s{stage}_fuse.") for blob, stage in FUSION_STAGES.items()),
    *((rf"(bn\.){part}$", rf"\g<1>{name}") for part, name in NORM_PARTS.items()),
)


def entry_name(blob: str) -> str:
    """Published name of the entry that a blob fills; the blob's own where it has no counterpart."""
    return renamed(blob, PARTS)


def fitted(value: Tensor, ours: Tensor) -> tuple[Tensor | None, str]:
    """A blob in our entry's shape, and how it came into it: copied, cut, filled or tiled; None where it can't.

    Missing trailing axes have length 1; of a longer kernel over time the first slice is taken where ours has one.
    """
    value = value.to(ours.dtype)
    value = value.reshape(*value.shape, *(1,) * (ours.dim() - value.dim()))
    if value.dim() == 5 and ours.shape[2] == 1 < value.shape[2]:
        value = value[:, :, :1]
    if value.shape == ours.shape:
        return value, "copied"
    if value.dim() == ours.dim() == 1:
        times, rest = divmod(len(ours), len(value))
        return (value.repeat(times), "tiled") if not rest else (None, "left")
    same_but_inputs = value.dim() == ours.dim() and value.shape[0] == ours.shape[0] and value.shape[2:] == ours.shape[2:]
    if not same_but_inputs:
        return None, "left"
    if value.shape[1] > ours.shape[1]:
        return value[:, : ours.shape[1]], "cut"
    return torch.cat([value, ours[:, value.shape[1] :]], dim=1), "filled"
