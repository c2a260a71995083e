"""Losses of recognisers whose auxiliary heads have time steps of their own (twostream.md, section 9.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.batch import Heads, valid_steps
from models.losses.ctc import ctc_loss, distillation_losses, recognition_losses
from models.losses.options import SentenceLossOptions

PUBLISHED_WEIGHTS = {"ctc_rgb_aux_0": 0.2, "ctc_rgb_aux_1": 0.2, "ctc_keypoint_aux_0": 0.5, "ctc_keypoint_aux_1": 0.5}


class TwoStreamLossOptions(SentenceLossOptions):
    """Losses of TwoStream-SLR: `ctc_<head>` and `distil_<head>` of the main heads, `ctc_<head>` of the auxiliary ones, with the published weights."""

    published_weights: ClassVar[Mapping[str, float]] = PUBLISHED_WEIGHTS

    teaching: Literal["soft", "hard"] = Field("soft", description="heads learn the ensemble's distribution, as published, or its likeliest class")


def two_stream_losses(heads: Heads, auxiliary: Heads | None, targets_BL: Tensor, target_lengths_B: Tensor, options: TwoStreamLossOptions) -> dict[str, Tensor]:
    """Named terms, unweighted: `ctc_<head>` of all heads, and `distil_<head>` of the main ones where distillation is on."""
    terms = recognition_losses(heads, targets_BL, target_lengths_B, distillation=False)
    if auxiliary is not None:
        terms |= {f"ctc_{name}": ctc_loss(logits, auxiliary.lengths, targets_BL, target_lengths_B) for name, logits in auxiliary.logits.items()}
    if not options.distillation:
        return terms
    teach = distillation_losses if options.teaching == "soft" else hard_distillation_losses
    return terms | teach(heads, padding=options.distil_padding)


def hard_distillation_losses(heads: Heads, *, padding: bool = True) -> dict[str, Tensor]:
    """`distil_<head>`: cross-entropy of each head to the likeliest class of the heads' mean distribution, summed over steps and divided by the clips."""
    probabilities = torch.stack([logits.detach().float().softmax(-1) for logits in heads.logits.values()])
    teacher_BS = probabilities.sum(0).argmax(-1)
    B, S = teacher_BS.shape
    weight_BS = 1.0 if padding else valid_steps(heads.lengths, S).float()
    return {
        f"distil_{name}": (F.cross_entropy(logits.transpose(1, 2), teacher_BS, reduction="none") * weight_BS).sum() / B for name, logits in heads.logits.items()
    }
