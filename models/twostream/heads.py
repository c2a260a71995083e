"""What the TwoStream systems answer beyond logits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Heads


@dataclass(frozen=True, kw_only=True)
class StreamHeads(Heads):
    """Heads, what they read, and the heads that only teach.

    inputs: head → (B, S, D), the pooled features that it reads and that translators are given. auxiliary: heads of the pyramid's lower levels,
    with twice the steps and so with lengths of their own; None where nobody asked for them.
    """

    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    auxiliary: Heads | None = None


def fused_logits(logits: Mapping[str, Tensor]) -> Tensor:
    """log Σ_h softmax(logits_h) (B, S, V): the heads' probabilities added with equal weight (twostream.md, section 9.4)."""
    return torch.logsumexp(torch.stack([F.log_softmax(values.float(), dim=-1) for values in logits.values()]), dim=0)


def ensemble_logits(heads: Heads) -> Tensor:
    """The three main heads together (`ensemble_last`)."""
    return fused_logits(heads.logits)


def early_logits(heads: StreamHeads) -> Tensor:
    """Both streams' heads of pyramid level 1 together, at twice the steps (`ensemble_early`). Raises ValueError without auxiliary heads."""
    if heads.auxiliary is None:
        raise ValueError("the early ensemble needs the auxiliary heads: ask the network for them (auxiliary=True)")
    return fused_logits({name: logits for name, logits in heads.auxiliary.logits.items() if name.endswith("_aux_1")})
