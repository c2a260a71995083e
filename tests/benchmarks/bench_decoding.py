"""Beam search against plain Python: the literal form that the unit tests check it by."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from models.decoding.decode import decode
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from tests.unit.models.decoding.oracles import tf_search

CLIPS, STEPS, CLASSES, BEAM_WIDTH = 4, 24, 68, 5  # the demo's lexicon, clips of 94 frames


def measure(bench: Bench) -> list[Figure]:
    """Seconds of the plain form over seconds of ours, on the same clips, one thread."""
    rounds = 2 if bench.quick else 8
    draw = np.random.default_rng(0)
    logits = 3 * draw.normal(size=(CLIPS, STEPS, CLASSES)).astype(np.float32)

    def plain_search() -> list[list[int]]:
        return [list(tf_search(clip, BEAM_WIDTH)[0]) for clip in logits]

    def own_search() -> list[list[int]]:
        found = decode(torch.from_numpy(logits), [STEPS] * CLIPS, beam_width=BEAM_WIDTH, merge_repeats=False, num_threads=1)
        return [list(hypothesis.ids) for hypothesis in found]

    return [
        _figure(f"beam search of width {BEAM_WIDTH}, plain Python / ours", plain_search, own_search, rounds, CLIPS, "clips"),
    ]


def _figure(name: str, plain: Callable[[], object], own: Callable[[], object], rounds: int, count: int, things: str) -> Figure:
    assert plain() == own(), name  # the same answers, and everything compiled
    seconds = [(_seconds(plain), _seconds(own)) for _ in range(rounds)]
    own_seconds = sorted(pair[1] for pair in seconds)[rounds // 2]
    return Figure(name=name, rounds=tuple(slow / fast for slow, fast in seconds), note=f"{count / own_seconds:,.0f} {things}/s")


def _seconds(function: Callable[[], object]) -> float:
    """Seconds per call, over enough calls to last 50 ms."""
    calls, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < 0.05:
        function()
        calls += 1
    return taken / calls
