"""CTC decoding against plain Python (the literal forms that the unit tests check it by) and against flashlight-text."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.decoding.ctcdecode import CTCBeamDecoder
from models.decoding.decode import decode
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from tests.unit.models.decoding.oracles import tf_search
from tests.unit.models.decoding.prefix_oracles import prefix_search

CLIPS, STEPS, CLASSES, BEAM_WIDTH = 4, 24, 68, 5  # the demo's lexicon, clips of 94 frames
FLASHLIGHT = "flashlight-text==0.0.7"
Clock = Callable[[], float]
Sequences = list[list[int]]


def measure(bench: Bench) -> list[Figure]:
    """Seconds of the other over seconds of ours, on the same clips and threads."""
    rounds = 2 if bench.quick else 8
    figures = [_tensorflow_form(rounds)]
    num_clips, num_steps, num_classes = (3, 12, 100) if bench.quick else (32, 60, 1296)  # as in the Phoenix-2014 test set
    for name, logits in (("peaky", _peaky(num_clips, num_steps, num_classes)), ("flat", _flat(num_clips, num_steps, num_classes))):
        figures += _prefix_forms(name, torch.from_numpy(logits).log_softmax(-1), rounds)
    return figures


def _tensorflow_form(rounds: int) -> Figure:
    logits = 3 * np.random.default_rng(0).normal(size=(CLIPS, STEPS, CLASSES)).astype(np.float32)

    def plain() -> Sequences:
        return [list(tf_search(clip, BEAM_WIDTH)[0]) for clip in logits]

    def own() -> Sequences:
        found = decode(torch.from_numpy(logits), [STEPS] * CLIPS, beam_width=BEAM_WIDTH, merge_repeats=False, num_threads=1)
        return [list(hypothesis.ids) for hypothesis in found]

    assert plain() == own()  # the same answers, and everything compiled
    return _figure(f"TensorFlow's search, beam {BEAM_WIDTH}, plain Python / ours", (plain, CLIPS), (own, CLIPS), rounds)


def _prefix_forms(name: str, log_probs: torch.Tensor, rounds: int) -> list[Figure]:
    """Width 10, 40 candidates: flashlight-text with one thread in CPU time and with two by the clock, plain Python on two clips."""
    num_clips, few = len(log_probs), min(2, len(log_probs))
    values = log_probs.numpy()

    def own(threads: int, count: int = num_clips) -> Sequences:
        decoder = CTCBeamDecoder(["-"] * values.shape[2], beam_width=10, num_processes=threads, log_probs_input=True)
        tokens, _, _, lengths = decoder.decode(log_probs[:count])
        return [row[:length].tolist() for row, length in zip(tokens[:, 0], lengths[:, 0].tolist(), strict=True)]

    def plain() -> Sequences:
        return [list(prefix_search(clip, 10)[0][0].ids) for clip in values[:few]]

    assert plain() == own(1, few)
    title = f"prefix search, {name} posteriors of {values.shape[2]:,} glosses"
    figures = [_figure(f"{title}, plain Python / ours, one thread", (plain, few), (lambda: own(1), num_clips), min(rounds, 3))]
    flashlight = _flashlight(values)
    if flashlight is None:
        print(f"no figure against flashlight-text, which is not installed: pip install {FLASHLIGHT}", file=sys.stderr)
        return figures
    same = sum(ours == theirs for ours, theirs in zip(own(1), flashlight(1), strict=True))
    for threads, clock, word in ((1, time.process_time, "one thread, CPU time"), (2, time.perf_counter, "two threads, wall clock")):
        sides = ((lambda threads=threads: flashlight(threads)), num_clips), ((lambda threads=threads: own(threads)), num_clips)
        figure = _figure(f"{title}, flashlight-text / ours, {word}", *sides, rounds, clock=clock, at_least=1.0)
        figures.append(figure.noted(f"{same} of {num_clips} hypotheses the same"))
    return figures


def _flashlight(values: NDArray[np.float32]) -> Callable[[int], Sequences] | None:
    """flashlight-text's lexicon-free decoder on a number of threads, in the setting nearest to ours; None where it is not installed."""
    try:
        from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM
    except ImportError:
        return None
    num_clips, num_steps, num_classes = values.shape
    limits = {"beam_size": 10, "beam_size_token": min(40, num_classes), "beam_threshold": 1e6}
    options = LexiconFreeDecoderOptions(**limits, lm_weight=0, sil_score=0, log_add=True, criterion_type=CriterionType.CTC)

    def search(clips: range) -> Sequences:
        decoder: Any = LexiconFreeDecoder(options, ZeroLM(), 0, 0, [])
        best = (decoder.decode(values[clip].ctypes.data, num_steps, num_classes)[0].tokens for clip in clips)
        return [[token for token, _ in groupby(tokens) if token > 0] for tokens in best]

    def run(threads: int) -> Sequences:
        parts = [range(start, num_clips, threads) for start in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            found = dict(zip(chain(*parts), chain(*pool.map(search, parts)), strict=True))
        return [found[clip] for clip in range(num_clips)]

    return run


def _flat(num_clips: int, num_steps: int, num_classes: int) -> NDArray[np.float32]:
    """Logits of a network that knows little."""
    logits = 3 * np.random.default_rng(1).standard_normal((num_clips, num_steps, num_classes)).astype(np.float32)
    logits[:, :, 0] += 8
    return logits


def _peaky(num_clips: int, num_steps: int, num_classes: int) -> NDArray[np.float32]:
    """Logits as of a trained network: glosses of one to three steps with a rival each, blanks in between."""
    draw = np.random.default_rng(2)
    logits = 1.5 * draw.standard_normal((num_clips, num_steps, num_classes)).astype(np.float32)
    for clip in logits:
        step = 0
        while step < num_steps:
            emitted, silent = draw.integers(1, 4), draw.integers(1, 5)
            for gloss, height in zip(draw.integers(1, num_classes, 2), (9, 8), strict=True):
                clip[step : step + emitted, gloss] += height
            clip[step : step + emitted, 0] += 7
            clip[step + emitted : step + emitted + silent, 0] += 11
            step += emitted + silent
    return logits


Side = tuple[Callable[[], object], int]  # what to run, and how many clips it decodes


def _figure(name: str, other: Side, own: Side, rounds: int, *, clock: Clock = time.perf_counter, at_least: float | None = None) -> Figure:
    pairs = [(_seconds(*other, clock), _seconds(*own, clock)) for _ in range(rounds)]
    their_rate, own_rate = (1 / sorted(pair[side] for pair in pairs)[rounds // 2] for side in (0, 1))
    return Figure(
        name=name,
        rounds=tuple(slow / fast for slow, fast in pairs),
        note=f"{own_rate:,.0f} clips/s over {their_rate:,.0f}",
        at_least=at_least,
    )


def _seconds(function: Callable[[], object], num_clips: int, clock: Clock) -> float:
    """Seconds per clip, over enough calls to last 50 ms."""
    calls, began = 0, clock()
    while (taken := clock() - began) < 0.05:
        function()
        calls += 1
    return taken / calls / num_clips
