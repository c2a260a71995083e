"""Fusion end to end, in process, on tiny bundles: weights from dev, a bundle that evaluate.py scores alike, the same again."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.class_map import ClassMap
from models.decoding.rover import rover
from models.ensemble import Ensemble, load, save_ensemble
from models.errors import BundleError, CorpusError, ShardError
from tests.unit.tiny_signs import CLASSES, save_tiny_sign_bundle
from tests.unit.workloads.corpora_on_disk import keypoints, write_npz
from tune import fusion
from tune.fusing import cross_validated, fuse_members
from tune.posteriors import read_posteriors
from tune.problems import Problem, SentenceProblem, build_problem
from tune.search import coordinate_search, corners, draws, random_search
from tune.voting import Ballot
from workloads import predict
from workloads.evaluate import evaluate
from workloads.evaluation_runners import in_this_process
from workloads.scoring import Evaluation
from workloads.shards import ShardSet
from workloads.sign_scoring import SignEvaluation


def main(shards: ShardSet, out: Path, *arguments: str, cache: Path | None = None) -> dict[str, object]:
    fusion.main(["--shards", str(shards.path), "--out", str(out), "--cache", str(cache or out.parent / "cache"), "--trials", "200", *arguments])
    record: dict[str, object] = json.loads((out / "fusion.json").read_text(encoding="utf-8"))
    return record


def given(members: dict[str, Bundle]) -> list[str]:
    return [part for bundle in members.values() for part in ("--member", str(bundle.folder))]


def test_sentences(sentence_members: dict[str, Bundle], sentence_shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = main(sentence_shards, tmp_path / "fused", *given(sentence_members), "--fuse", "probs", "--search", "coordinate")
    weights, dev, test = record["weights"], record["dev"], record["test"]
    assert isinstance(weights, dict)
    assert isinstance(dev, dict)
    assert isinstance(test, dict)
    assert sum(weights.values()) == pytest.approx(1)
    assert set(dev) == {"ensemble", "equal weights", "a", "b"}
    ensemble = load(tmp_path / "fused" / "bundle")
    assert isinstance(ensemble, Ensemble)
    assert ensemble.metrics["dev_wer"]["ensemble"] == dev["ensemble"]
    for split, scores in (("dev", dev), ("test", test)):
        evaluation = evaluate(ensemble, sentence_shards, split, run_pieces=in_this_process)
        assert isinstance(evaluation, Evaluation)
        assert evaluation.wer == pytest.approx({name: scores[name] for name in evaluation.wer})
    shown = capsys.readouterr().out
    clip = write_npz(tmp_path / "clip.npz", keypoints(24))
    assert predict.main(["--bundle", str(ensemble.folder), str(clip), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"]["weights"] == ensemble.checksum
    for expected in (
        "word error rate in % (lower is better)",
        "not chosen on (5 folds)",
        "95 % interval",
        "p = ",
        "ROVER (vote of the answers)",
        "Score against cost",
    ):
        assert expected in shown
    again = main(sentence_shards, tmp_path / "again", *given(sentence_members), "--fuse", "probs", "--search", "coordinate", cache=tmp_path / "cache")
    assert again == record


def test_heads_inside_one_bundle(sentence_members: dict[str, Bundle], sentence_shards: ShardSet, tmp_path: Path) -> None:
    record = main(sentence_shards, tmp_path / "fused", "--member", str(sentence_members["a"].folder), "--heads")
    assert isinstance(record["weights"], dict)
    assert list(record["weights"]) == ["left", "right", "fuse", "body"]
    ensemble = load(tmp_path / "fused" / "bundle")
    assert isinstance(ensemble, Ensemble)
    assert len(list((ensemble.folder / "members").iterdir())) == 1


def test_an_ensemble_of_signs_stands_for_its_members(sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path) -> None:
    old = save_ensemble(tmp_path / "four" / "bundle", sign_members, dict.fromkeys(sign_members, 1.0), metrics={}, provenance={})
    record = main(sign_shards, tmp_path / "fused", "--member", str(old.folder))
    assert isinstance(record["weights"], dict)
    assert list(record["weights"]) == list(sign_members)
    ensemble = load(tmp_path / "fused" / "bundle")
    evaluation = evaluate(ensemble, sign_shards, "test", run_pieces=in_this_process)
    assert isinstance(evaluation, SignEvaluation)
    assert isinstance(record["test"], dict)
    assert evaluation.top1 == pytest.approx({name: record["test"][name] for name in evaluation.top1})
    assert isinstance(record["searched"], float)
    assert record["searched"] >= max(score for subset in record["subsets"] for score in [subset["score"]] if len(subset["weights"]) == 1)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def problems(
    sentence_members: dict[str, Bundle],
    sentence_shards: ShardSet,
    sign_members: dict[str, Bundle],
    sign_shards: ShardSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Problem]:
    cache, found = tmp_path_factory.mktemp("cache"), {}
    for kind, members, shards in (("sentences", sentence_members, sentence_shards), ("signs", sign_members, sign_shards)):
        tables = read_posteriors(members, shards, "dev", cache=cache, run_pieces=in_this_process)
        found[kind] = build_problem(members, tables, shards, "dev", "probs")
    return found


@pytest.mark.parametrize("kind", ["sentences", "signs"])
def test_a_weighting_costs_the_same_among_others_and_alone(problems: dict[str, Problem], kind: str) -> None:
    problem = problems[kind]
    weights = np.concatenate([corners(len(problem.members)), draws(len(problem.members), 40, 0)])
    together = problem.counts(weights)
    assert np.array_equal(together, np.concatenate([problem.counts(weighting[None]) for weighting in weights]))
    assert len({tuple(row) for row in together.tolist()}) > 2, "the tiny networks agree too much to test anything"


def test_the_search_decodes_as_the_greedy_decoder(problems: dict[str, Problem]) -> None:
    problem = problems["sentences"]
    assert isinstance(problem, SentenceProblem)
    assert list(problem.unscored) == ["dev/silent"]
    greedy = replace(problem, decoding=problem.decoding.model_copy(update={"method": "greedy"}))
    for weights in np.concatenate([corners(2), draws(2, 5, 0)]):
        assert np.array_equal(greedy.final_counts(weights), problem.counts(weights[None])[0])


def test_the_ensemble_is_no_worse_than_a_member_on_dev_as_it_is_decoded(problems: dict[str, Problem]) -> None:
    """The search decodes greedily; here it is made to choose badly."""
    problem = problems["sentences"]
    figures = {name: problem.final_counts(weights).sum() for name, weights in zip("ab", np.eye(2), strict=True)}
    worse = max(figures, key=lambda name: figures[name])
    found = fuse_members(problem, problem, lambda loss, count: np.eye(2)["ab".index(worse)], cost=lambda names: (1, 1.0))
    assert found.dev["ensemble"] <= min(found.dev.values())
    assert found.best_member == min(figures, key=lambda name: figures[name])


@pytest.mark.parametrize("kind", ["sentences", "signs"])
def test_a_vote_of_the_answers(problems: dict[str, Problem], kind: str) -> None:
    problem = problems[kind]
    alone = np.eye(len(problem.members))
    ballot = Ballot.of(problem, [problem.answers(weights) for weights in alone])
    assert np.array_equal(ballot.counts(alone), np.stack([problem.final_counts(weights) for weights in alone])), "a corner is its member"
    weightings = draws(len(problem.members), 30, 0)
    together = ballot.counts(weightings)
    expected = [
        problem.errors([clip], [rover([problem.answers(one)[clip] for one in alone], weights.tolist())])[0] for weights in weightings[:5] for clip in range(3)
    ]
    assert together[:5, :3].reshape(-1).tolist() == expected


def test_cross_validation_holds_each_clip_out_and_costs_what_was_chosen_on_the_others(problems: dict[str, Problem]) -> None:
    problem = problems["signs"]
    search = partial(random_search, trials=100, seed=0)
    held = cross_validated(problem, search, 5, seed=0)
    assert held is not None
    assert held == cross_validated(problem, search, 5, seed=0)
    assert held.fused <= problem.score(float(problem.loss(search(problem.loss, 3)[None])[0])) + 1e-9, "what was seen can't be worse on as many draws"
    assert cross_validated(problem, search, 1, seed=0) is None


def test_the_front_holds_the_best_and_the_cheapest(problems: dict[str, Problem]) -> None:
    problem = problems["signs"]
    prices = {"joint": 3.0, "bone": 2.0, "joint_motion": 1.0}
    found = fuse_members(problem, problem, partial(coordinate_search, trials=300), cost=lambda names: (len(names), sum(prices[name] for name in names)))
    front = [subset for subset in found.subsets if subset.on_front]
    assert found.subsets[0].latency_ms == 1.0
    assert max(subset.score for subset in found.subsets) == max(subset.score for subset in front)
    assert len(found.subsets) == 5
    assert found.test_interval.low <= found.test_interval.value <= found.test_interval.high


def test_what_a_user_can_get_wrong_is_one_line(
    sentence_members: dict[str, Bundle], sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path
) -> None:
    signs = given(sign_members)
    other = save_tiny_sign_bundle(tmp_path / "other" / "bundle", classes=ClassMap(tuple(reversed(CLASSES.labels))))
    cases: list[tuple[list[str], type[Exception], str]] = [
        (signs[:2], BundleError, "one member only"),
        ([*signs[:2], *signs[:2]], BundleError, "the name 'joint' is taken: choose another with --member NAME="),
        ([*signs[:2], "--member", str(other.folder)], BundleError, "the classes of other are not those of joint"),
        ([*signs[:2], "--member", str(sentence_members["a"].folder)], BundleError, "an ensemble is of one kind"),
        ([*signs, "--split", "nowhere"], ShardError, "has no split 'nowhere': its splits are"),
        ([*signs, "--test", "nowhere"], ShardError, "has no split 'nowhere'"),
        ([*signs, "--test", "bare"], CorpusError, "split 'bare' of .* none of 2 clips can be scored; the first, .*: no label"),
        ([*signs, "--test", "dev"], BundleError, "--split and --test are both 'dev'"),
    ]
    for arguments, kind, message in cases:
        with pytest.raises(kind, match=message) as error:
            main(sign_shards, tmp_path / "fused", *arguments)
        assert "\n" not in str(error.value)


def test_members_have_names_of_their_own(sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path) -> None:
    folder = sign_members["joint"].folder
    record = main(sign_shards, tmp_path / "fused", "--member", f"one={folder}", "--member", f"two={folder}")
    assert isinstance(record["weights"], dict)
    assert list(record["weights"]) == ["one", "two"]
