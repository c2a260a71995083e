"""Cross-entropy of isolated signs, and the weights of unequal classes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.batch import Batch, Heads
from models.losses.classification import EFFECTIVE_BETA, class_weights, sign_losses
from models.losses.options import SignLossOptions

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 0])


def terms(options: SignLossOptions, weights: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    heads = Heads(logits={"sign": LOGITS}, lengths=torch.ones(4))
    batch = Batch(
        names=tuple("abcd"), keypoints=torch.zeros(4, 1, 1, 3), frame_sizes=torch.ones(4, 2), lengths=torch.ones(4), rotations=torch.zeros(4), labels=LABELS
    )
    return sign_losses(heads, batch, options, weights)


def test_one_term_a_head() -> None:
    assert terms(SignLossOptions()) == {"cross_entropy_sign": pytest.approx(F.cross_entropy(LOGITS, LABELS))}
    smoothed = terms(SignLossOptions(label_smoothing=0.2))["cross_entropy_sign"]
    spread = torch.full((4, 3), 0.2 / 3) + 0.8 * F.one_hot(LABELS, 3)
    assert float(smoothed) == pytest.approx(float(-(spread * LOGITS.log_softmax(-1)).sum(-1).mean()))


def test_inverse_weights_make_every_class_count_alike() -> None:
    weights = class_weights((8, 2, 0), "inverse")
    assert weights is not None
    assert (weights * torch.tensor([8, 2, 0])).tolist() == pytest.approx([5, 5, 0])


def test_effective_weights_lie_between_equal_and_inverse() -> None:
    effective, inverse = (class_weights((1000, 10), balance) for balance in ("effective", "inverse"))
    assert effective is not None
    assert inverse is not None
    assert 1 < float(effective[1] / effective[0]) < float(inverse[1] / inverse[0])
    number = [(1 - EFFECTIVE_BETA**clips) / (1 - EFFECTIVE_BETA) for clips in (1000, 10)]
    assert float(effective[1] / effective[0]) == pytest.approx(number[0] / number[1], rel=1e-5)
    assert float((effective * torch.tensor([1000, 10])).sum()) == pytest.approx(1010, rel=1e-5)


def test_equal_weights_are_none_at_all() -> None:
    assert class_weights((3, 1), "none") is None


def test_the_weights_count() -> None:
    weights = torch.tensor([1.0, 4.0, 0.5])
    assert terms(SignLossOptions(), weights)["cross_entropy_sign"] == pytest.approx(F.cross_entropy(LOGITS, LABELS, weight=weights))
