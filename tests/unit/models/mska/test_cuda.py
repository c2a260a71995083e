"""MSKA on a GPU, which takes PyTorch's own convolutions and norms there."""

from __future__ import annotations

import copy

import pytest
import torch

from models.batch import Batch, Heads
from models.mska.config import BlockShape, HeadOptions, MskaOptions
from models.mska.network import Mska

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
OPTIONS = MskaOptions(
    blocks=(BlockShape(8, 8, 2, 7, 2), BlockShape(8, 16, 4, 3, 2)), head=HeadOptions(hidden_size=32, ff_size=64, dropout=0), attention_dropout=0
)


def _batch() -> Batch:
    torch.manual_seed(0)
    size = torch.tensor([[210.0, 260.0]] * 2)
    return Batch(names=("a", "b"), keypoints=torch.rand(2, 32, 133, 3) * 200, frame_sizes=size, lengths=torch.tensor([32, 20]), rotations=torch.zeros(2))


@needs_cuda
@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_those_of_the_cpu(training: bool) -> None:
    torch.manual_seed(0)
    network = Mska(OPTIONS, 12).train(training)
    twin = copy.deepcopy(network).cuda()
    ours: Heads = network(_batch())
    theirs: Heads = twin(_batch().to("cuda"))
    for head, logits in ours.logits.items():
        torch.testing.assert_close(theirs.logits[head].cpu(), logits, rtol=1e-3, atol=1e-3)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(dtype: torch.dtype) -> None:
    network = Mska(OPTIONS, 12).cuda().train()
    with torch.autocast("cuda", dtype=dtype):
        heads: Heads = network(_batch().to("cuda"))
    torch.stack([logits.float().square().mean() for logits in heads.logits.values()]).sum().backward()
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters() if parameter.grad is not None)
