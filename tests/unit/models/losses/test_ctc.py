"""Recognition losses against PyTorch's, clip by clip, and labels that can't align."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.batch import Heads
from models.losses.ctc import ctc_loss, distillation_losses, recognition_losses

LENGTHS = torch.tensor([6, 4])
TARGETS = torch.tensor([[2, 3, 3], [1, 4, 0]])
TARGET_LENGTHS = torch.tensor([3, 2])


def heads(**padding: float) -> Heads:
    generator = torch.Generator().manual_seed(0)
    logits = {name: torch.randn(2, 6, 5, generator=generator) for name in ("fuse", "body")}
    for value in logits.values():
        value[1, 4:] += padding.get("shift", 0.0) * torch.arange(5)
    return Heads(logits=logits, lengths=LENGTHS)


def test_ctc_is_the_mean_of_the_clips_sums() -> None:
    logits = heads().logits["fuse"]
    clips = [
        F.ctc_loss(logits[i, : LENGTHS[i]].log_softmax(-1)[:, None], TARGETS[i : i + 1], LENGTHS[i : i + 1], TARGET_LENGTHS[i : i + 1], reduction="sum")
        for i in range(2)
    ]
    torch.testing.assert_close(ctc_loss(logits, LENGTHS, TARGETS, TARGET_LENGTHS), torch.stack(clips).mean())


def test_an_impossible_alignment_counts_nothing() -> None:
    logits = heads().logits["fuse"].requires_grad_()
    ctc_loss(logits, torch.tensor([3, 4]), TARGETS, TARGET_LENGTHS).backward()
    assert logits.grad is not None
    assert not logits.grad[0].any()
    assert logits.grad[1].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(dtype: torch.dtype) -> None:
    logits = heads().logits["fuse"].to(dtype)
    loss = ctc_loss(logits, LENGTHS, TARGETS, TARGET_LENGTHS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, ctc_loss(logits.float(), LENGTHS, TARGETS, TARGET_LENGTHS))


def test_distillation_is_kl_from_the_mean() -> None:
    answers = heads()
    teacher = torch.stack([value.softmax(-1) for value in answers.logits.values()]).mean(0)
    for name, term in distillation_losses(answers).items():
        student = answers.logits[name.removeprefix("distil_")].log_softmax(-1)
        torch.testing.assert_close(term, F.kl_div(student, teacher, reduction="batchmean"))


def test_the_teacher_learns_nothing() -> None:
    logits = {name: value.requires_grad_() for name, value in heads().logits.items()}
    distillation_losses(Heads(logits=logits, lengths=LENGTHS))["distil_fuse"].backward()
    assert logits["fuse"].grad is not None
    assert logits["body"].grad is None


def test_distillation_without_padding() -> None:
    clean, shifted = (distillation_losses(heads(shift=shift), padding=False) for shift in (0.0, 3.0))
    torch.testing.assert_close(clean, shifted)
    assert distillation_losses(heads())["distil_fuse"] > clean["distil_fuse"]


def test_terms_by_name() -> None:
    with_teacher = recognition_losses(heads(), TARGETS, TARGET_LENGTHS)
    assert list(with_teacher) == ["ctc_fuse", "ctc_body", "distil_fuse", "distil_body"]
    assert list(recognition_losses(heads(), TARGETS, TARGET_LENGTHS, distillation=False)) == ["ctc_fuse", "ctc_body"]
