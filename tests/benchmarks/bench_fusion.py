"""Weightings of fusion scored from kept posteriors, against running the network again for each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from models.bundle import Bundle, DecodingOptions, save_bundle
from models.posteriors import PosteriorReader
from models.systems import SYSTEMS
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import SMALLEST, Bench
from tune.posteriors import read_posteriors
from tune.problems import build_problem
from tune.search import draws
from workloads.bundles import corpus_card
from workloads.evaluation_runners import in_this_process, pieces
from workloads.recipe import load_recipe
from workloads.shards import ShardSet

SPLIT = "dev"


def measure(bench: Bench) -> list[Figure]:
    """Time of reading the posteriors of the four heads (one forward pass a batch) over the time of one weighting among many, greedy decoding and WER included.

    Both grow with the clips alike. The network has random weights, whose posteriors are less decided than a trained one's.
    """
    rounds, count = (2, 50) if bench.quick else (5, 1000)
    shards = ShardSet.open(bench.shards())
    members = _heads(bench, shards)
    tables = read_posteriors(members, shards, SPLIT, cache=bench.folder / "posteriors", run_pieces=in_this_process)
    bundle = next(iter(members.values()))
    reader = PosteriorReader(system=SYSTEMS[bundle.system], network=bundle.network(), inputs=bundle.inputs, heads=tuple(members))
    ratios, rate = [], 0.0
    for number in range(rounds):
        began = time.perf_counter()
        list(in_this_process(reader, pieces(shards, SPLIT), 8))
        inference = time.perf_counter() - began
        problem = build_problem(members, tables, shards, SPLIT, "probs")
        problem.counts(draws(len(members), 2, seed=99))  # compiles the alignment
        began = time.perf_counter()
        problem.counts(draws(len(members), count, seed=number))
        scoring = (time.perf_counter() - began) / count
        ratios.append(inference / scoring)
        rate = 1 / scoring
    num_clips = len(shards.index(SPLIT))
    note = f"{rate:,.0f} weightings/s of {len(members)} heads on {num_clips} clips; inference {inference:.2f} s"
    return [Figure(name="weighting by inference / from kept posteriors, wall clock", rounds=tuple(ratios), note=note, at_least=100.0)]


def _heads(bench: Bench, shards: ShardSet) -> Mapping[str, Bundle]:
    recipe = load_recipe("mska_slr_small", [f"data.shards={shards.path}", *(SMALLEST if bench.quick else ())])
    system = SYSTEMS[recipe.system]
    torch.manual_seed(0)
    bundle = save_bundle(
        Path(bench.folder) / "fusion_bundle",
        system=recipe.system,
        options=recipe.network,
        inputs=recipe.inputs,
        state_dict=system.build(recipe.network, len(shards.vocabulary)).state_dict(),
        classes=shards.vocabulary,
        decoding=DecodingOptions(),
        corpus=corpus_card(shards),
        metrics={},
        provenance={},
    )
    return {head: replace(bundle, decoding=bundle.decoding.model_copy(update={"head": head})) for head in system.heads}
