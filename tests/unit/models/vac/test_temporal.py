"""Lengths over time against a walk through frames, and against the modules themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.mstfnet.lift_pool import lifting_conv1d
from models.vac.clips import Clips
from models.vac.sequence import checked_steps, temporal_conv1d
from models.vac.temporal import CONV_TYPES, TemporalLayout

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=4)


def collated(lengths: list[int], left: int, stride: int) -> tuple[list[list[int]], list[int]]:
    """Frame numbers of a batch by hand: first frames repeated, the clip, last frames repeated."""
    own = []
    for length in lengths:
        steps = 0
        while steps * stride < length:
            steps += 1
        own.append(steps * stride + 2 * left)
    rows = []
    for length in lengths:
        row = [0] * left + list(range(length))
        while len(row) < max(own):
            row.append(length - 1)
        rows.append(row)
    return rows, own


@given(lengths=LENGTHS, conv_type=st.sampled_from(sorted(CONV_TYPES)))
def test_padding(lengths: list[int], conv_type: int) -> None:
    layout = TemporalLayout.of(conv_type)
    rows, own = collated(lengths, layout.left, layout.stride)
    counts = torch.tensor(lengths)
    assert layout.frame_index(counts).tolist() == rows
    assert layout.padded_length(counts).tolist() == own == [layout.padded_length(length) for length in lengths]
    assert counts.tolist() == lengths  # the caller's tensor stays as it is


@settings(deadline=None)
@given(length=st.integers(1, 90), conv_type=st.sampled_from(sorted(CONV_TYPES)))
def test_output_length_is_the_modules(length: int, conv_type: int) -> None:
    layout = TemporalLayout.of(conv_type)
    padded = layout.padded_length(length)
    steps = layout.output_length(padded)
    network = temporal_conv1d(2, 2, layout).eval()
    if steps < 1:
        with pytest.raises(RuntimeError):
            network(torch.zeros(1, 2, padded))
        with pytest.raises(ValueError, match="too short for this network: it takes"):
            checked_steps(layout, torch.tensor([padded]))
    else:
        assert network(torch.zeros(1, 2, padded)).shape[2] == steps


def test_published_type() -> None:
    layout = TemporalLayout.of(2)
    assert (layout.left, layout.stride) == (6, 4)
    lengths = torch.arange(1, 300)
    assert torch.equal(layout.output_length(layout.padded_length(lengths)), (lengths + 3) // 4)
    assert [layout.shortest_clip(), layout.shortest_clip(least_steps=2)] == [1, 5]


@pytest.mark.parametrize("conv_type", [0, 1, 2])
def test_lifting_keeps_the_lengths(conv_type: int) -> None:
    layout = TemporalLayout.of(conv_type)
    for length in range(5, 30):
        padded = layout.padded_length(length)
        assert lifting_conv1d(2, 2, layout).eval()(torch.rand(1, 2, padded)).shape[2] == layout.output_length(padded)


def test_lifting_refuses_what_it_cant_pool() -> None:
    network = lifting_conv1d(2, 2, TemporalLayout.of(1))
    for steps in (7, 2):
        with pytest.raises(ValueError, match=f"{steps} steps can't be pooled by lifting"):
            network[1](torch.rand(1, 2, steps))


@given(counts=LENGTHS, extra=st.integers(0, 3))
def test_packed_clips(counts: list[int], extra: int) -> None:
    x = torch.rand(len(counts), max(counts) + extra, 2)
    clips = Clips.of(torch.tensor(counts), x.shape[1], masked=True)
    packed = clips.packed(x)
    assert torch.equal(packed, torch.cat([clip[:count] for clip, count in zip(x, counts, strict=True)]))
    padded = clips.padded(packed)
    assert padded.shape[1] == max(counts)
    for row, clip, count in zip(padded, x, counts, strict=True):
        assert torch.equal(row[:count], clip[:count])
        assert not row[count:].any()
    assert torch.equal(clips.each(lambda clip: clip.cumsum(1), packed), torch.cat([clip[:count].cumsum(0) for clip, count in zip(x, counts, strict=True)]))
    assert torch.allclose(clips.reduced(lambda clip: clip.mean(1), packed), torch.stack([clip[:count].mean(0) for clip, count in zip(x, counts, strict=True)]))
    numbers = torch.cat([torch.arange(count) for count in counts])
    owner = clips.spread(torch.arange(len(counts)))
    for offset in (-1, 1):
        index = clips.neighbours(offset, x.device)
        assert torch.equal(owner[index], owner)
        assert torch.equal(numbers[index], torch.minimum((numbers + offset).clamp_min(0), torch.tensor(counts)[owner] - 1))
    assert Clips.of(torch.tensor(counts), x.shape[1], masked=False).counts == (x.shape[1],) * len(counts)
