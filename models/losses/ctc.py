"""Recognition losses by name: CTC per head, and distillation of the heads' mean into each head (mska.md, section 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Heads, valid_steps


def ctc_loss(logits_BSV: Tensor, lengths_B: Tensor, targets_BL: Tensor, target_lengths_B: Tensor) -> Tensor:
    """CTC with blank 0, summed over a clip and divided by the number of clips; an impossible alignment counts nothing."""
    log_probs_SBV = F.log_softmax(single(logits_BSV), dim=-1).transpose(0, 1)
    total = F.ctc_loss(log_probs_SBV, targets_BL, lengths_B, target_lengths_B, blank=0, reduction="sum", zero_infinity=True)
    return total / logits_BSV.shape[0]


def recognition_losses(
    heads: Heads, targets_BL: Tensor, target_lengths_B: Tensor, *, distillation: bool = True, distil_padding: bool = True
) -> dict[str, Tensor]:
    """Named terms, unweighted: `ctc_<head>` for every head, and `distil_<head>` where `distillation` is on.

    The teacher is the detached mean of the heads' distributions; KL(teacher ‖ head) is summed over steps and classes and divided by the
    number of clips. distil_padding: padded steps count too, as published.
    """
    terms = {f"ctc_{name}": ctc_loss(logits, heads.lengths, targets_BL, target_lengths_B) for name, logits in heads.logits.items()}
    return terms | (distillation_losses(heads, padding=distil_padding) if distillation else {})


def distillation_losses(heads: Heads, *, padding: bool = True) -> dict[str, Tensor]:
    """`distil_<head>`: KL from the heads' mean distribution to each head."""
    log_probs = {name: F.log_softmax(single(logits), dim=-1) for name, logits in heads.logits.items()}
    teacher = torch.stack([value.detach().exp() for value in log_probs.values()]).mean(0)
    B, S, _ = teacher.shape
    weight = None if padding else valid_steps(heads.lengths, S)[:, :, None].to(teacher.dtype)
    entropy = torch.xlogy(teacher, teacher)
    divergence = {name: entropy - teacher * value for name, value in log_probs.items()}
    return {f"distil_{name}": (value if weight is None else value * weight).sum() / B for name, value in divergence.items()}


def single(logits: Tensor) -> Tensor:
    """Logits of autocast in single precision; others as they are."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
