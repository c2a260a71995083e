"""The translation loss: label-smoothed Kullback–Leibler divergence, summed over a sentence's tokens (twostream.md, section 13.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.losses.ctc import single


def translation_loss(logits_BLN: Tensor, labels_BL: Tensor, *, smoothing: float = 0.2, pad: int = 1) -> Tensor:
    """KL(target ‖ answer) summed over tokens, divided by the number of clips.

    The target is 1 − smoothing on the label and smoothing/(N − 2) on every other token but `pad`; where the label is `pad` nothing counts.
    It includes the targets' own entropy, as published.
    """
    log_probs = torch.log_softmax(single(logits_BLN), dim=-1)
    B, _, N = log_probs.shape
    other = torch.as_tensor(smoothing / (N - 2), dtype=log_probs.dtype)
    label = torch.as_tensor(1 - smoothing, dtype=log_probs.dtype)
    of_label = log_probs.gather(-1, labels_BL[..., None]).squeeze(-1)
    of_others = log_probs.sum(-1) - of_label - log_probs[..., pad]
    entropy = torch.xlogy(label, label) + (N - 2) * torch.xlogy(other, other)
    divergence = entropy.to(log_probs.device) - (1 - smoothing) * of_label - smoothing / (N - 2) * of_others
    return torch.where(labels_BL == pad, 0.0, divergence).sum() / B
