"""Fusion by actors on a real Ray cluster equals fusion in this process, and its ensemble is evaluated there. Four groups of actors, which import torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.bundle import CorpusCard
from models.ensemble import save_ensemble
from tests.integration.head_node import HeadNode
from tests.unit.tiny import save_tiny_bundle, tiny_network
from tests.unit.workloads.tiny_shards import write_tiny_shards
from tune.posteriors import read_posteriors
from tune.problems import build_problem
from tune.search import random_search
from workloads.evaluate import evaluate
from workloads.evaluation_runners import in_this_process, with_ray

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def test_actors_compute_the_same_posteriors_and_weights(ray_cluster: HeadNode, tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path)
    card = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")
    members = {name: save_tiny_bundle(tmp_path / name, tiny_network(seed, scale=30), corpus=card) for seed, name in enumerate("ab")}
    chosen = []
    for name, runner in (("here", in_this_process), ("there", with_ray(2))):
        tables = read_posteriors(members, shards, "test", cache=tmp_path / name, run_pieces=runner)
        problem = build_problem(members, tables, shards, "test", "probs")
        chosen.append((tables, random_search(problem.loss, 2, trials=200, seed=0)))
    (here, weights), (there, others) = chosen
    assert weights.tolist() == others.tolist()
    for name in members:
        assert here[name].names == there[name].names
        assert np.allclose(here[name].logits, there[name].logits, atol=1e-4)
    ensemble = save_ensemble(tmp_path / "both", members, {"a": 0.6, "b": 0.4}, metrics={}, provenance={}, fuse="probs")
    one, other = (evaluate(ensemble, shards, "test", run_pieces=runner) for runner in (in_this_process, with_ray(2)))
    assert one.record()["wer"] == pytest.approx(other.record()["wer"])
