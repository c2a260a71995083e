"""CTC and self-distillation of the VAC family against sums written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.batch import Heads
from models.losses.alignment import AlignmentLossOptions, alignment_losses, distillation

LENGTHS = torch.tensor([4, 2])


def heads(*names: str) -> Heads:
    torch.manual_seed(0)
    return Heads(logits={name: torch.randn(2, 4, 5, dtype=torch.double, requires_grad=True) for name in names}, lengths=LENGTHS)


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> float:
    """KL of one step, class by class."""
    p, q = (torch.softmax(logits[1:] / temperature, 0).tolist() for logits in (teacher, student))
    return sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize(("padding", "temperature"), [(True, 8.0), (False, 8.0), (True, 2.0)])
def test_distillation(padding: bool, temperature: float) -> None:
    options = AlignmentLossOptions(distil_padding=padding, temperature=temperature)
    given = heads("sequence", "conv")
    terms = alignment_losses(given, torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1]), teachers={"conv": "sequence"}, options=options)
    places = [(clip, step) for clip in range(2) for step in range(4) if padding or step < LENGTHS[clip]]
    steps = [divergence(given.logits["conv"][place], given.logits["sequence"][place], temperature) for place in places]
    assert terms["distil_conv"].item() == pytest.approx(sum(steps) / len(steps) * temperature**2, rel=1e-9)
    terms["distil_conv"].backward()
    assert given.logits["sequence"].grad is None  # the teacher learns nothing from it
    gradient = given.logits["conv"].grad
    assert gradient is not None
    assert not gradient[..., 0].any()  # nor has the blank a part


def test_terms_by_name() -> None:
    given = heads("sequence", "conv", "level1")
    targets, counts = torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    teachers = {"conv": "sequence", "slow_conv": "slow_sequence"}
    terms = alignment_losses(given, targets, counts, teachers=teachers)
    assert list(terms) == ["ctc_sequence", "ctc_conv", "ctc_level1", "distil_conv"]
    assert "distil_conv" not in alignment_losses(given, targets, counts, teachers=teachers, options=AlignmentLossOptions(distillation=False))
    log_probs = given.logits["conv"].log_softmax(-1).transpose(0, 1)
    each = torch.nn.functional.ctc_loss(log_probs, targets, LENGTHS, counts, reduction="none")
    torch.testing.assert_close(terms["ctc_conv"], each.mean())  # not divided by the number of labels


def test_half_precision_is_summed_in_single() -> None:
    student, teacher = torch.randn(2, 1, 3, 400, generator=torch.Generator().manual_seed(0)) * 20
    half = distillation(student.half(), teacher.half(), temperature=8.0)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, distillation(student.half().float(), teacher.half().float(), temperature=8.0))
