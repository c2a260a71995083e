"""DSTA-SLR on a GPU, which takes PyTorch's own convolutions and norms there."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from models.dsta_slr.config import DstaOptions
from models.dsta_slr.network import DstaSlr
from tests.unit.models.dsta_slr.tiny import clips

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: DSTA-SLR on CUDA is not tested here")
OPTIONS = DstaOptions(width=16, depth=3)


@needs_cuda
@pytest.mark.parametrize("training", [False, True])
def test_logits_equal_those_of_the_cpu(training: bool) -> None:
    torch.manual_seed(0)
    network, skeletons = DstaSlr(OPTIONS, 12).train(training), clips(3, 24)
    twin = copy.deepcopy(network).cuda()
    torch.testing.assert_close(twin.classify(skeletons.cuda()).cpu(), network.classify(skeletons), rtol=1e-3, atol=1e-3)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(dtype: torch.dtype) -> None:
    network = DstaSlr(OPTIONS, 12).cuda().train()
    network.set_keep_probability(0.9)
    with torch.autocast("cuda", dtype=dtype):
        loss = F.cross_entropy(network.classify(clips(3, 24).cuda()).float(), torch.arange(3, device="cuda"))
    loss.backward()
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters() if parameter.grad is not None)
