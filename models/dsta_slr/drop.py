"""Drop modules: joints with their neighbours and stretches of frames, chosen where activations are strong (dsta_slr.md, section 4).

Activations are (T, B, J, C); the channels of `num_groups` branches lie side by side, and each branch draws for itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 1.92  # mean number of links of a joint, of the 25-joint skeleton that the method was first made for: kept as published


def dropped(x_TBJC: Tensor, adjacency_JJ: Tensor, *, keep: float, drop_frames: int, num_groups: int = 1) -> Tensor:
    """`x_TBJC` with joints, then frames, set to zero and the rest scaled up; `keep` 1 changes nothing and draws nothing."""
    if keep >= 1:
        return x_TBJC
    T, B, J, C = x_TBJC.shape
    x = x_TBJC.reshape(T, B, J, num_groups, C // num_groups)
    x = x * joint_mask(x.detach().abs().mean((0, 4)), adjacency_JJ, keep=keep)[None, ..., None]
    x = x * frame_mask(x.detach().abs().mean((2, 4)), drop_frames, keep=keep)[:, :, None, :, None]
    return x.reshape(T, B, J, C)


def joint_mask(strength_BJG: Tensor, adjacency_JJ: Tensor, *, keep: float) -> Tensor:
    """Factors (B, J, G): 0 on seeds and their neighbours, elsewhere the inverse of the group's kept share."""
    seeds_BJG = _seeds(strength_BJG, (1 - keep) / (1 + NEIGHBOURS), (0, 1))
    spread_BGJ = seeds_BJG.transpose(1, 2) @ adjacency_JJ.to(seeds_BJG.dtype)
    return _rescaled((spread_BGJ <= 0.001).to(seeds_BJG.dtype).transpose(1, 2), (0, 1))


def frame_mask(strength_TBG: Tensor, drop_frames: int, *, keep: float) -> Tensor:
    """Factors (T, B, G): 0 within drop_frames // 2 frames of a seed, elsewhere the inverse of the group's kept share."""
    seeds_TBG = _seeds(strength_TBG, (1 - keep) / drop_frames, (0, 1))
    spread_BGT = F.max_pool1d(seeds_TBG.permute(1, 2, 0), drop_frames, stride=1, padding=drop_frames // 2)
    return _rescaled(1 - spread_BGT.permute(2, 0, 1), (0, 1))


def _seeds(strength: Tensor, rate: float, axes: tuple[int, int]) -> Tensor:
    relative = strength / strength.mean(axes, keepdim=True).clamp(min=torch.finfo(strength.dtype).tiny)
    return torch.bernoulli((relative * rate).clamp(max=1))


def _rescaled(mask: Tensor, axes: tuple[int, int]) -> Tensor:
    """A mask without a single 1, which a batch of few clips can draw, stays zero instead of becoming NaN as published."""
    kept = mask.mean(axes, keepdim=True)
    return mask / kept.clamp(min=torch.finfo(mask.dtype).tiny)
