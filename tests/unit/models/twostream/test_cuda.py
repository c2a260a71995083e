"""SingleStream-SLR and TwoStream-SLR on a GPU, which takes PyTorch's own convolutions, norms and layouts there."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from models.batch import Heads
from models.recomputation import recompute
from models.systems import SYSTEMS
from tests.unit.models.twostream.tiny import heatmap_clips, pictures, single, two

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
LENGTHS = [16, 12]


def clips(device: str) -> tuple[Tensor, Tensor, Tensor]:
    return pictures(LENGTHS).to(device), heatmap_clips(LENGTHS).to(device), torch.tensor(LENGTHS, device=device)


def assert_alike(theirs: Heads, ours: Heads) -> None:
    for head, logits in ours.logits.items():
        torch.testing.assert_close(theirs.logits[head].cpu(), logits, rtol=1e-3, atol=1e-3, msg=head)


@pytest.mark.parametrize("training", [False, True])
def test_two_streams_answer_as_on_the_cpu(training: bool) -> None:
    network = two().train(training)
    twin = copy.deepcopy(network).cuda()
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert_alike(twin.recognise(*clips("cuda")), network.recognise(*clips("cpu")))


def test_a_single_stream_answers_as_on_the_cpu() -> None:
    network = single().eval()
    twin = copy.deepcopy(network).cuda()
    frames, _, lengths = clips("cpu")
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert_alike(twin.recognise(frames.cuda(), lengths.cuda()), network.recognise(frames, lengths))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("again", [False, True])
def test_autocast_trains(dtype: torch.dtype, again: bool) -> None:
    network = two().cuda().train()
    if again:
        recompute(network, SYSTEMS["twostream_slr"].recomputed)
    with torch.autocast("cuda", dtype=dtype):
        heads = network.recognise(*clips("cuda"))
    torch.stack([logits.float().square().mean() for logits in heads.logits.values()]).sum().backward()
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters() if parameter.grad is not None)
