"""The 27-joint skeleton of SAM-SLR-v2 and DSTA-SLR: joints, links, mirror images, adjacency (dsta_slr.md, sections 1, 2 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor

NUM_JOINTS = 27
NOSE = 0

# Parent → child, in the published order: the order decides what the published in-place bones are.
LINKS = (
    *((0, 1), (0, 2), (1, 3), (3, 5), (2, 4), (4, 6)),
    *((7, 8), (7, 9), (7, 11), (7, 13), (7, 15), (9, 10), (11, 12), (13, 14), (15, 16)),
    *((17, 18), (17, 19), (17, 21), (17, 23), (17, 25), (19, 20), (21, 22), (23, 24), (25, 26)),
    *((5, 7), (6, 17)),
)
MIRRORED = (0, 2, 1, 4, 3, 6, 5, *range(17, 27), *range(7, 17))  # joint → its image with left and right exchanged
# COCO-WholeBody's index of each joint: nose, shoulders, elbows, wrists, left hand, right hand.
WHOLE_BODY = (0, 5, 6, 7, 8, 9, 10, 91, 95, 96, 99, 100, 103, 104, 107, 108, 111, 112, 116, 117, 120, 121, 124, 125, 128, 129, 132)
NUM_WHOLE_BODY = 133


def adjacency() -> Tensor:
    """Identity plus inward plus outward links (27, 27), each with columns of sum 1 or 0; what the drop modules spread along."""
    inward = torch.zeros(NUM_JOINTS, NUM_JOINTS)
    for parent, child in LINKS:
        inward[child, parent] = 1
    return torch.eye(NUM_JOINTS) + _normalised(inward) + _normalised(inward.T)


def _normalised(links: Tensor) -> Tensor:
    return links / links.sum(0).clamp(min=1)
