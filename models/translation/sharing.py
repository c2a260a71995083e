"""Translators of one ensemble whose trunks are the same: TwoStream-SLT's three were trained on the frozen trunks of one recogniser, which then run once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from models.answering import evaluation_form
from models.batch import Heads
from models.translation.network import SignToText
from models.twostream.heads import StreamHeads
from models.twostream.network import TwoStream
from models.twostream.single_stream import SingleStream

EXTRACTING = ("trunk", "trunks", "exchanges")  # parts of a recogniser that come before its heads


def share_trunks(networks: Sequence[nn.Module]) -> int:
    """Give networks whose trunks hold equal weights the first one's modules, so that these are in memory once; returns how many were replaced."""
    replaced = 0
    for place, network in enumerate(networks):
        twin = next((other for other in networks[:place] if _equal(other, network)), None)
        if twin is not None:
            for part in _parts(network):
                setattr(network.recogniser, part, getattr(twin.recogniser, part))
            replaced += 1
    return replaced


def same_trunk(one: nn.Module, other: nn.Module) -> bool:
    """Whether what one network's trunk extracts holds for the other, too."""
    parts = _parts(one)
    return bool(parts) and parts == _parts(other) and all(getattr(one.recogniser, part) is getattr(other.recogniser, part) for part in parts)


def heads_on(network: nn.Module, heads: Heads) -> Heads:
    """Heads and text of a network by the features behind `heads`, which another with the same trunk answered; in evaluation form."""
    assert isinstance(network, SignToText)
    assert isinstance(network.recogniser, SingleStream | TwoStream)
    assert isinstance(heads, StreamHeads)
    with evaluation_form(network):
        return network.translate(network.recogniser.answer(heads.inputs, heads.lengths))


def _parts(network: nn.Module) -> tuple[str, ...]:
    if not (isinstance(network, SignToText) and isinstance(network.recogniser, SingleStream | TwoStream)):
        return ()
    return tuple(part for part in EXTRACTING if hasattr(network.recogniser, part))


def _equal(one: nn.Module, other: nn.Module) -> bool:
    parts = _parts(one)
    return bool(parts) and parts == _parts(other) and all(_same_weights(getattr(one.recogniser, part), getattr(other.recogniser, part)) for part in parts)


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return str(one) == str(other) and ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
