"""Lengths that training draws, and the least of them, which tells before a run whose glosses don't fit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.inputs.inputs import Inputs
from models.inputs.keypoints import KeypointInputs
from models.twostream.inputs import StreamInputs, TwoStreamInputs
from models.vac.inputs import FrameInputs


@pytest.mark.parametrize("inputs", [KeypointInputs(), TwoStreamInputs(), StreamInputs(max_frames=90, shortest=0.8), FrameInputs(), FrameInputs(rescale=0)])
@settings(max_examples=10, deadline=None)
@given(num_frames=st.integers(5, 600), seed=st.integers(0, 999))
def test_no_clip_is_shortened_more_than_to_its_shortest_length(inputs: Inputs, num_frames: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    shortest = inputs.shortest_length(num_frames)
    drawn = {inputs.training_length(num_frames, generator) for _ in range(500)}
    assert shortest <= min(drawn) <= shortest + max(4, num_frames // 10)
