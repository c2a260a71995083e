"""Fusion of translators on tiny bundles: candidates ranked as the search ranks them, weights by BLEU on dev, a bundle that evaluates alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, CorpusCard
from models.ensemble import Ensemble, load, save_ensemble
from models.errors import BundleError
from models.inputs.clip import Clip
from models.translation.joint import JointTranslator
from tests.unit.models.translation.bundles import save_translator
from tests.unit.tune.conftest import sentences
from tests.unit.workloads.corpora_on_disk import sample, write_release
from tune import fusion
from tune.posteriors import read_posteriors
from tune.search import corners, draws
from tune.texts import TextProblem, build_text_problem
from workloads.evaluate import evaluate
from workloads.evaluation_runners import in_this_process
from workloads.part_runners import in_this_process as write_here
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.scoring import Evaluation
from workloads.shards import ShardSet

CARD = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")
TRUE = {"mska": 0.6, "single": 0.4}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("translators")
    systems = {"mska": "mska_slt", "single": "singlestream_slt"}
    return {name: save_translator(folder / name / "bundle", system, seed=seed, corpus=CARD) for seed, (name, system) in enumerate(systems.items())}


@pytest.fixture(scope="module")
def shards(members: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """What is said of a clip is what both members find together by TRUE weights; one clip of dev has no text."""
    folder = tmp_path_factory.mktemp("spoken")
    both = save_ensemble(folder / "both", members, TRUE, metrics={}, provenance={})
    splits = {split: _spoken(both, sentences(split, seed)) for split, seed in (("dev", 0), ("test", 500))}
    splits["dev"].append(sample("dev/silent", "HAUS", 24, text=""))
    source = write_release(folder / "corpus", {"train": [sample("train/0", "HAUS")], **splits}, vocabulary=False)
    return preprocess(PreprocessOptions(corpus="phoenix2014t", source=source, out=folder / "shards"), write_here).shards


def _spoken(ensemble: Ensemble, samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clips = [Clip(name=entry["name"], keypoints=entry["keypoint"].numpy().copy(), frame_size=(210, 260)) for entry in samples]
    recogniser = ensemble.recogniser()
    assert isinstance(recogniser, JointTranslator)
    return [entry | {"text": outcome.texts[0].text} for entry, outcome in zip(samples, recogniser.recognise(clips), strict=True)]


def problem_of(members: dict[str, Bundle], shards: ShardSet, cache: Path) -> TextProblem:
    tables = read_posteriors(members, shards, "dev", cache=cache, run_pieces=in_this_process, texts=True)
    return build_text_problem(members, tables, shards, "dev", "bleu4")


def test_candidates_are_ranked_as_a_search_ranks_them(members: dict[str, Bundle], shards: ShardSet, tmp_path: Path) -> None:
    problem = problem_of(members, shards, tmp_path / "cache")
    assert problem.unscored == {"dev/silent": "no text: there is nothing to compare with"}
    found = problem.pool.best(corners(2))
    for row, weights in enumerate(corners(2)):
        spoken = problem.statistics(problem.answers(weights))
        same = (problem.pool.statistics[found[row]] == spoken).all(1)
        assert same.mean() > 0.6, "a member alone, and both alike, were searched; what others found may yet be likelier than a beam's own"
    weightings = draws(2, 300, seed=1)
    together = problem.loss(weightings)
    assert together == pytest.approx([float(problem.loss(one[None])[0]) for one in weightings])
    halves = [problem.sums(weightings[:3], np.arange(start, 20, 2)) for start in (0, 1)]
    assert problem.rate(np.sum(halves, axis=0)) == pytest.approx(100 - together[:3])


def test_weights_of_generation(members: dict[str, Bundle], shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [part for name, bundle in members.items() for part in ("--member", f"{name}={bundle.folder}")]
    command = ["--shards", str(shards.path), "--cache", str(tmp_path / "cache"), "--trials", "200", "--search", "coordinate", *given]
    fusion.main([*command, "--out", str(tmp_path / "fused")])
    record = json.loads((tmp_path / "fused" / "fusion.json").read_text(encoding="utf-8"))
    dev, test = record["dev"], record["test"]
    assert record["metric"] == "bleu4"
    assert record["voted"] is None
    assert dev["ensemble"] >= max(dev["mska"], dev["single"], dev["equal weights"])
    assert dev["ensemble"] > dev["mska"] + 5, "neither says alone what both say together"
    assert 0.2 < record["weights"]["single"] < 0.6
    assert record["comparison"]["b"] == pytest.approx(test["ensemble"])
    assert record["test_interval"]["low"] <= test["ensemble"] <= record["test_interval"]["high"]
    ensemble = load(tmp_path / "fused" / "bundle")
    assert isinstance(ensemble, Ensemble)
    assert ensemble.metrics["test_bleu4"]["ensemble"] == pytest.approx(test["ensemble"])
    evaluation = evaluate(ensemble, shards, "test", run_pieces=in_this_process)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.texts is not None
    assert evaluation.texts.answer.bleu.bleu4 == pytest.approx(test["ensemble"])
    shown = capsys.readouterr().out
    assert "Fusion: BLEU-4 (higher is better)" in shown
    assert "ROVER" not in shown
    fusion.main([*command, "--search", "equal", "--out", str(tmp_path / "equal")])
    equal = json.loads((tmp_path / "equal" / "fusion.json").read_text(encoding="utf-8"))
    assert equal["weights"] == {"mska": 0.5, "single": 0.5}
    assert (equal["held"], equal["dev"]["ensemble"]) == (None, dev["equal weights"])


def test_heads_of_one_translator_are_fused_by_their_glosses(members: dict[str, Bundle], shards: ShardSet, tmp_path: Path) -> None:
    command = ["--shards", str(shards.path), "--cache", str(tmp_path / "cache"), "--trials", "20", "--heads", "--member", str(members["mska"].folder)]
    fusion.main([*command, "--out", str(tmp_path / "heads")])
    assert json.loads((tmp_path / "heads" / "fusion.json").read_text(encoding="utf-8"))["metric"] == "wer"
    with pytest.raises(BundleError, match="--metric rouge_l: heads of one network have one translator"):
        fusion.main([*command, "--metric", "rouge_l", "--out", str(tmp_path / "heads")])


def test_texts_of_networks_without_any(sentence_members: dict[str, Bundle], sentence_shards: ShardSet, tmp_path: Path) -> None:
    given = [part for bundle in sentence_members.values() for part in ("--member", str(bundle.folder))]
    with pytest.raises(BundleError, match=r"--metric bleu4: a doesn't translate, and the metric is of texts"):
        fusion.main(["--shards", str(sentence_shards.path), "--out", str(tmp_path / "out"), "--metric", "bleu4", *given])
    pair = [part for name in ("a", "b") for part in ("--member", f"{name}={save_translator(tmp_path / name, 'g2t').folder}")]
    with pytest.raises(BundleError, match="--metric wer: a is given glosses and recognises none"):
        fusion.main(["--shards", str(sentence_shards.path), "--out", str(tmp_path / "out"), "--metric", "wer", *pair])
