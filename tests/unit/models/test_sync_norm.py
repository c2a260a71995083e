"""Batch norms of two workers (two processes, gloo) equal those of one that has the whole batch: values, gradients, running statistics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from cluster.ray_cluster import free_port
from models.heads.visual_head import MaskedBatchNorm
from models.sync_norm import synchronise

WORLD = 2
SHARES = (slice(0, 2), slice(2, 6))  # unequal numbers of clips
VALID = torch.arange(5)[None] < torch.tensor([5, 3, 4, 2, 5, 1])[:, None]
Results = dict[str, Tensor]


class Network(nn.Module):
    """A norm of each kind on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.masked = nn.BatchNorm1d(3), nn.BatchNorm2d(4), MaskedBatchNorm(4)
        self.first, self.second = nn.Linear(2, 3), nn.Conv2d(3, 4, 1)

    def forward(self, x_BSD: Tensor, valid_BS: Tensor) -> Tensor:
        hidden = self.norm1(self.first(x_BSD).transpose(1, 2)) + 5.0
        hidden = torch.relu(self.norm2(self.second(hidden[..., None])))[..., 0]
        out: Tensor = self.masked(hidden.transpose(1, 2), valid_BS)
        return out


def inputs() -> Tensor:
    """In double precision, as the network: a bias before another norm has no gradient but rounding."""
    return 3 + torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network() -> Network:
    torch.manual_seed(1)
    made = Network()
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.5, 0.5)
    return made.double()


def step(net: nn.Module, share: slice) -> Results:
    """Output, gradients of a weighed sum and statistics after a step on a share of the clips."""
    x = inputs()[share].requires_grad_()
    out = net.train()(x, VALID[share])
    (out * torch.sin(torch.arange(out.numel(), dtype=torch.float64).view(out.shape) + 20.0 * (share.start or 0))).sum().backward()
    assert x.grad is not None
    gradients = {f"gradient {name}": value.grad for name, value in net.named_parameters() if value.grad is not None}
    return {"out": out.detach(), "x": x.grad, **gradients, **{name: value.clone() for name, value in net.named_buffers()}}


def work(rank: int, folder: str, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORLD)
    net = network()
    assert synchronise(net) == 3
    torch.save(step(net, SHARES[rank]), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    folder: Path = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, args=(str(folder), free_port()), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt") for rank in range(WORLD)]


def test_two_workers_equal_one_with_the_whole_batch(ranks: list[Results]) -> None:
    net = network()
    x = inputs().requires_grad_()
    out = net.train()(x, VALID)
    weights = [torch.sin(torch.arange(out[share].numel(), dtype=torch.float64).view(out[share].shape) + 20.0 * share.start) for share in SHARES]
    (out * torch.cat(weights)).sum().backward()
    close = {"atol": 1e-10, "rtol": 1e-8}
    torch.testing.assert_close(torch.cat([rank["out"] for rank in ranks]), out.detach(), **close)
    torch.testing.assert_close(torch.cat([rank["x"] for rank in ranks]), x.grad, **close)
    for name, value in net.named_parameters():
        torch.testing.assert_close(ranks[0][f"gradient {name}"] + ranks[1][f"gradient {name}"], value.grad, msg=name, **close)
    for name, value in net.named_buffers():
        for rank in ranks:
            torch.testing.assert_close(rank[name], value, msg=name, **close)


def test_alone_and_in_evaluation_they_are_plain_norms() -> None:
    plain, synced = network(), network()
    synchronise(synced)
    own = step(synced, slice(0, 6))
    for name, value in step(plain, slice(0, 6)).items():
        torch.testing.assert_close(own[name], value, msg=name, atol=1e-10, rtol=1e-8)
    assert torch.equal(plain.eval()(inputs(), VALID), network_like(plain, synced)(inputs(), VALID))
    assert list(plain.state_dict()) == list(synced.state_dict())


def network_like(first: nn.Module, second: nn.Module) -> nn.Module:
    second.load_state_dict(first.state_dict())
    return second.eval()


def test_a_norm_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="a BatchNorm3d can't be synchronised"):
        synchronise(nn.Sequential(nn.BatchNorm3d(2)))
