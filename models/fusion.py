"""Late fusion: several networks' logits of the same clips as one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

FusionRule = Literal["logits", "probs"]


def fuse(logits: Mapping[str, Tensor], weights: Mapping[str, float], rule: FusionRule = "logits") -> Tensor:
    """Logits (..., V) of equal shapes by name as one, with weights that are scaled to a sum of 1.

    "logits": their weighted mean. The mean of log-probabilities differs from it by a constant of each distribution, which no answer depends on.
    "probs": the logarithm of the weighted mean of probabilities. Raises ValueError where a name has no weight or the weights sum to nothing.
    """
    missing = [name for name in logits if name not in weights]
    total = sum(weights[name] for name in logits if name in weights)
    if missing or not total > 0:
        raise ValueError(f"fusion weights {dict(weights)} for {', '.join(logits)}: each needs one, and their sum must be above 0")
    if rule == "probs":
        counting = {name: weights[name] / total for name in logits if weights[name] > 0}
        return torch.logsumexp(torch.stack([F.log_softmax(logits[name], dim=-1) + torch.tensor(share).log() for name, share in counting.items()]), dim=0)
    fused = sum(weights[name] / total * values for name, values in logits.items())
    assert isinstance(fused, Tensor)
    return fused


def resample(logits_BSV: Tensor, lengths_B: Tensor, steps_B: Tensor) -> Tensor:
    """Logits (B, max(steps), V) whose clip i has `steps_B[i]` steps: each takes the step of `lengths_B[i]` in which its middle lies.

    CTC emits in peaks, which taking keeps and averaging would blur; onto at least as many steps none is lost, and repeats collapse in decoding.
    """
    if torch.equal(lengths_B, steps_B):
        return logits_BSV[:, : int(steps_B.max())]
    steps_S = torch.arange(int(steps_B.max()))
    taken_BS = ((2 * steps_S[None] + 1) * lengths_B[:, None]) // (2 * steps_B[:, None].clamp(min=1))
    taken_BS = torch.minimum(taken_BS, (lengths_B[:, None] - 1).clamp(min=0))
    return logits_BSV.gather(1, taken_BS[..., None].expand(-1, -1, logits_BSV.shape[2]))
