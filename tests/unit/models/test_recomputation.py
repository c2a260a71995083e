"""Activations computed again: the same loss, gradients and statistics, and less that is kept for the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from models.recomputation import recompute
from models.systems import SYSTEMS
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream
from tests.unit.models.twostream.tiny import heatmap_clips, pictures, single, two
from tests.unit.models.vac.tiny import NETWORKS, Frames, clips, tiny


def kept_bytes_and_step(network: nn.Module, forward: Callable[[nn.Module], list[Tensor]]) -> tuple[int, dict[str, Tensor]]:
    """Bytes of activations that a step keeps, and what it leaves in the network."""
    sizes: dict[int, int] = {}
    parameters = {value.untyped_storage().data_ptr() for value in network.parameters()}

    def keep(value: Tensor) -> Tensor:
        if value.untyped_storage().data_ptr() not in parameters:
            sizes[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        logits = forward(network.train())
    loss = torch.stack([each.square().mean() for each in logits]).sum()
    loss.backward()
    gradients = {f"gradient {name}": value.grad for name, value in network.named_parameters() if value.grad is not None}
    return sum(sizes.values()), {"loss": loss.detach(), **gradients, **dict(network.named_buffers())}


def of_frames(network: nn.Module) -> list[Tensor]:
    return [*network(Frames(clips([12, 9]), torch.tensor([12, 9]))).logits.values()]


def of_streams(network: nn.Module) -> list[Tensor]:
    lengths = [12, 8]
    if isinstance(network, SingleStream):
        heads = network.recognise(pictures(lengths), torch.tensor(lengths))
    else:
        assert isinstance(network, TwoStream)
        heads = network.recognise(pictures(lengths), heatmap_clips(lengths), torch.tensor(lengths))
    return [*heads.logits.values(), *(heads.auxiliary.logits.values() if heads.auxiliary else ())]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], list[Tensor]]]] = {
    **{name: (partial(tiny, name), of_frames) for name in NETWORKS},
    "singlestream_slr": (single, of_streams),
    "twostream_slr": (two, of_streams),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_stay_and_memory_falls(name: str) -> None:
    make, forward = CASES[name]
    plain, saving = make(), make()
    assert recompute(saving, SYSTEMS[name].recomputed) > 0
    for network in (plain, saving):
        for module in network.modules():
            if isinstance(module, nn.Dropout | nn.LSTM):
                module.p, module.dropout = 0.2, 0.2  # draws are repeated too
    kept, expected = kept_bytes_and_step(plain, forward)
    kept_saving, found = kept_bytes_and_step(saving, forward)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)
    assert kept_saving < 0.7 * kept
    assert list(saving.state_dict()) == list(plain.state_dict())


def test_nothing_is_computed_twice_in_evaluation() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2))
    assert recompute(network, (nn.BatchNorm1d,)) == 1
    x = torch.randn(3, 2)
    assert torch.equal(network.eval()(x), nn.BatchNorm1d(2).eval()(x))
    network.train()(x.requires_grad_()).sum().backward()
    norm = network[0]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked is not None
    assert norm.num_batches_tracked.item() == 1
    assert norm.momentum == 0.1
