"""Cross-entropy of isolated signs by name, with weights for corpora whose classes have unequal numbers of clips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.batch import Batch, Heads
from models.losses.ctc import single
from models.losses.options import SignLossOptions

EFFECTIVE_BETA = 0.999  # of the effective number of clips, (1 - beta^n) / (1 - beta) (Cui et al. 2019, Class-balanced loss)


def sign_losses(heads: Heads, batch: Batch, options: SignLossOptions, class_weights_C: Tensor | None = None) -> dict[str, Tensor]:
    """`cross_entropy_<head>`, unweighted by name: the mean over the clips, each counting by the weight of its class where there are weights."""
    assert batch.labels is not None
    weights = None if class_weights_C is None else class_weights_C.to(batch.labels.device)
    return {
        f"cross_entropy_{head}": F.cross_entropy(single(logits_BC), batch.labels, weight=weights, label_smoothing=options.label_smoothing)
        for head, logits_BC in heads.logits.items()
    }


def class_weights(counts: Sequence[int], balance: str) -> Tensor | None:
    """Weight of each class (C,) for its number of training clips, 1 in the mean over the clips; None where all count alike.

    A class without clips has weight 0.
    """
    if balance == "none":
        return None
    clips_C = torch.tensor(counts, dtype=torch.float64)
    effective_C = clips_C if balance == "inverse" else (1 - EFFECTIVE_BETA**clips_C) / (1 - EFFECTIVE_BETA)
    weights_C = torch.where(clips_C > 0, 1 / effective_C.clamp_min(1e-12), torch.zeros_like(clips_C))
    return (weights_C * clips_C.sum() / (weights_C * clips_C).sum()).float()
