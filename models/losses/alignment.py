"""Losses of the VAC family by name: CTC of every head, and each convolution head learning from its own BiLSTM head (cslr_common.md, section 7)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from models.batch import Heads, valid_steps
from models.losses.ctc import ctc_loss, single
from models.losses.options import LossOptions


class AlignmentLossOptions(LossOptions):
    """Losses of SlowFastSign, MSTFNet and CorrNet: `ctc_<head>`, `distil_<student>`."""

    distillation: bool = True
    distil_padding: bool = Field(True, description="distillation counts padded steps, as published")
    temperature: float = Field(8.0, gt=0, description="of the distillation")


def alignment_losses(
    heads: Heads, targets_BL: Tensor, target_lengths_B: Tensor, *, teachers: Mapping[str, str], options: AlignmentLossOptions | None = None
) -> dict[str, Tensor]:
    """Named terms, unweighted: `ctc_<head>` of every head, `distil_<student>` of every student → teacher of `teachers` whose heads are there."""
    options = options or AlignmentLossOptions()
    terms = {f"ctc_{name}": ctc_loss(logits, heads.lengths, targets_BL, target_lengths_B) for name, logits in heads.logits.items()}
    if options.distillation:
        valid = None if options.distil_padding else valid_steps(heads.lengths, next(iter(heads.logits.values())).shape[1])
        for student, teacher in teachers.items():
            if student in heads.logits:
                terms[f"distil_{student}"] = distillation(heads.logits[student], heads.logits[teacher], temperature=options.temperature, valid_BS=valid)
    return terms


def distillation(student_BSV: Tensor, teacher_BSV: Tensor, *, temperature: float, valid_BS: Tensor | None = None) -> Tensor:
    """Temperature² · KL(teacher ‖ student) of the glosses without the blank, the mean over steps; `valid_BS` says which count, else all.

    The teacher is detached. At a padded step it is uniform, because the BiLSTM's output there is zero.
    """
    student, teacher = (F.log_softmax(single(logits[..., 1:]) / temperature, dim=-1) for logits in (student_BSV, teacher_BSV.detach()))
    divergence_BS = (teacher.exp() * (teacher - student)).sum(-1)
    mean = divergence_BS.mean() if valid_BS is None else divergence_BS[valid_BS].mean()
    return mean * temperature**2
