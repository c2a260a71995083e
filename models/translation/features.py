"""Heads on features that were extracted before: the published form of a recogniser in joint training (twostream.md, section 13.4)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from models.batch import Heads, valid_steps
from models.heads.visual_head import VisualHead
from models.mska.config import HeadOptions


class FeatureHeads(nn.Module):
    """Visual heads without a trunk. widths: head → width of the features that it reads."""

    def __init__(self, widths: Mapping[str, int], num_classes: int, options: HeadOptions) -> None:
        super().__init__()
        self.heads = nn.ModuleDict({name: VisualHead(width, num_classes, **options.model_dump()) for name, width in widths.items()})

    def forward(self, features: Mapping[str, Tensor], lengths_B: Tensor, *, masked: bool) -> Heads:
        """Head → features (B, S, D), with the valid steps (B,) of each clip; `masked` as of the heads."""
        valid = valid_steps(lengths_B, next(iter(features.values())).shape[1])
        answers = {name: head(features[name], valid, masked=masked) for name, head in self.heads.items()}
        return Heads(
            logits={name: logits for name, (logits, _) in answers.items()},
            lengths=lengths_B,
            features={name: feature for name, (_, feature) in answers.items()},
        )
