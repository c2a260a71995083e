"""Late fusion: several networks' logits of the same clips as one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def fuse(logits: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted mean of logits of equal shapes, by name. Raises ValueError where a name has no weight or the weights sum to nothing."""
    missing = [name for name in logits if name not in weights]
    total = sum(weights[name] for name in logits if name in weights)
    if missing or not total > 0:
        raise ValueError(f"fusion weights {dict(weights)} for {', '.join(logits)}: each needs one, and their sum must be above 0")
    fused = sum(weights[name] / total * values for name, values in logits.items())
    assert isinstance(fused, Tensor)
    return fused
