"""Evaluation by actors on a real Ray cluster equals evaluation in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.bundle import CorpusCard, DecodingOptions
from models.decoding.shallow_fusion import read_fusion
from models.errors import ShardError
from tests.integration.head_node import HeadNode
from tests.unit.tiny import save_tiny_bundle, tiny_network
from tests.unit.workloads.tiny_shards import write_tiny_shards
from tests.unit.workloads.undecided import write_language_model
from workloads.evaluate import evaluate
from workloads.evaluation_runners import in_this_process, pieces, with_ray


def test_actors_answer_as_this_process_does(ray_cluster: HeadNode, tmp_path: Path) -> None:
    shards = write_tiny_shards(tmp_path)
    bundle = save_tiny_bundle(tmp_path / "bundle", tiny_network(scale=30), corpus=CorpusCard(name="phoenix2014t", cleanup="phoenix2014t"))
    model = write_language_model(tmp_path / "glosses.arpa", HAUS=-1.0, MORGEN=-0.3, REGEN=-0.6, SONNE=-2.0)
    fusion = read_fusion(bundle.vocabulary, language_model=model, hot_words=[("HAUS", 1.0)])
    decoding = DecodingOptions(method="prefix_beam")
    here = evaluate(bundle, shards, "test", decoding=decoding, fusion=fusion, run_pieces=in_this_process)
    there = evaluate(bundle, shards, "test", decoding=decoding, fusion=fusion, run_pieces=with_ray(2))
    assert [(clip.name, clip.hypotheses, clip.errors) for clip in there.clips] == [(clip.name, clip.hypotheses, clip.errors) for clip in here.clips]
    assert [clip.confidence for clip in there.clips] == pytest.approx([clip.confidence for clip in here.clips], abs=1e-6)
    assert replace(there, clips=()) == replace(here, clips=())
    plain = evaluate(bundle, shards, "test", decoding=decoding, run_pieces=in_this_process)
    assert [clip.hypotheses for clip in plain.clips] != [clip.hypotheses for clip in here.clips]  # so the language model has come along

    (file,) = shards.files("test")
    whole = pieces(shards, "test")
    file.write_bytes(file.read_bytes()[:4000])
    with pytest.raises(ShardError, match="truncated or damaged"):
        list(with_ray(1)(bundle.recogniser(), whole, 8))  # an actor's error arrives as ours
