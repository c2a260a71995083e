"""The visual head: masked batch norm, its convolutions as matrix products, its published form, its independence of padding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from models.batch import valid_steps
from models.heads.visual_head import MaskedBatchNorm, StepConv, VisualHead

VALID = valid_steps(torch.tensor([5, 3]), 5)


def test_masked_norm_trains_on_valid_steps() -> None:
    norm, x = MaskedBatchNorm(4), torch.randn(2, 5, 4) + 2
    out = norm(x, VALID)
    valid = x[VALID]
    torch.testing.assert_close(out[VALID], (valid - valid.mean(0)) / (valid.var(0, correction=0) + norm.eps).sqrt())
    assert torch.equal(out[~VALID], x[~VALID]), "padded steps pass through as published"
    torch.testing.assert_close(norm.running_mean, 0.1 * valid.mean(0))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * valid.var(0))


def test_masked_norm_evaluates_every_step() -> None:
    norm, x = MaskedBatchNorm(4).eval(), torch.randn(2, 5, 4)
    norm.running_mean.normal_()
    torch.testing.assert_close(norm(x, VALID), (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt())


@pytest.mark.parametrize("kernel", [1, 3, 4])
def test_step_conv_is_a_convolution(kernel: int) -> None:
    conv, x = StepConv(4, 6, kernel), torch.randn(2, 5, 4)
    expected = F.conv1d(F.pad(x.transpose(1, 2), ((kernel - 1) // 2, kernel // 2)), conv.weight, conv.bias).transpose(1, 2)
    torch.testing.assert_close(conv(x), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("position", [True, False])
def test_masked_head_answers_as_alone(position: bool) -> None:
    head, x = VisualHead(4, 7, hidden_size=8, ff_size=12, position=position).eval(), torch.randn(2, 5, 4)
    with torch.no_grad():
        logits, feature = head(x, VALID, masked=True)
        alone, feature_alone = head(x[1:, :3], VALID[1:, :3], masked=False)
        published, _ = head(x, VALID, masked=False)
    torch.testing.assert_close(logits[1:, :3], alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(feature[1:, :3], feature_alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(published[0], logits[0], atol=1e-6, rtol=1e-5)
    assert (published[1, 2] - alone[0, 2]).abs().max() > 1e-4, "the published form sees padded steps"


def test_logits_are_read_from_the_feature() -> None:
    head = VisualHead(4, 7, hidden_size=8, ff_size=12)
    logits, feature = head(torch.randn(2, 5, 4), VALID, masked=False)
    torch.testing.assert_close(logits, head.classifier(feature))
    assert (logits.shape, feature.shape) == ((2, 5, 7), (2, 5, 8))
