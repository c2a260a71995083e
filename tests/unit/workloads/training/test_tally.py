"""What a forward pass would keep, counted without keeping it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.recomputation import blocks
from workloads.training.tally import Tally, refuse

ROWS, VALUE = 6, 4  # bytes of a value


def counted(network: nn.Module, recomputed: list[nn.Module], inputs: Tensor) -> Tally:
    tally = Tally([*network.parameters()])
    with torch.autograd.graph.saved_tensors_hooks(tally.note, refuse), tally.inside(recomputed):
        network(inputs).square().sum()
    return tally


def test_each_storage_is_counted_once() -> None:
    """The input, tanh's output (saved by tanh and by the second layer), and the output, which is squared; no weights."""
    tally = counted(nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 5)), [], torch.ones(ROWS, 10))
    assert (tally.peak, tally.largest) == (ROWS * VALUE * (10 + 20 + 5), ROWS * VALUE * 20)


class Block(nn.Sequential): ...


def test_a_block_that_is_computed_again_keeps_its_input_and_has_the_rest_in_its_turn() -> None:
    def network(first: int, second: int) -> nn.Module:
        return nn.Sequential(
            Block(nn.Linear(10, first), nn.Tanh(), nn.Linear(first, 8)), Block(nn.Linear(8, second), nn.Tanh(), nn.Linear(second, 9)), nn.Linear(9, 3)
        )

    for first, second, expected in (
        (100, 20, 10 + 100),  # in the first block's turn nothing else is there any more
        (20, 100, 10 + 8 + 100),
        (1, 1, 10 + 8 + 9 + 3),  # at the loss all inputs are
    ):
        net = network(first, second)
        assert counted(net, blocks(net, (Block,)), torch.ones(ROWS, 10)).peak == ROWS * VALUE * expected
