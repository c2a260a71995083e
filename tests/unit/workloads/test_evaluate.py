"""Evaluation: every head scored, nothing dropped silently, the same wherever it runs."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import yaml

from models.answering import Unanswered
from models.bundle import Bundle, CorpusCard, DecodingOptions, load_bundle
from models.errors import BundleError, CorpusError, LanguageModelError, ShardError
from models.inputs.keypoints import KeypointInputs
from models.metrics.wer import word_errors
from models.mska.published import export
from models.recognition import HeadAnswer, RecognisedGloss, Recogniser, Recognition
from models.vocabulary import Vocabulary
from tests.unit.tiny import GLOSSES, OPTIONS, VOCABULARY, save_tiny_bundle, tiny_network
from tests.unit.workloads.tiny_shards import NUM_CLIPS, write_tiny_shards
from tests.unit.workloads.undecided import save_undecided_bundle, write_language_model
from workloads.evaluate import evaluate, main
from workloads.evaluation_runners import Piece, answer_piece, in_this_process, pieces
from workloads.scoring import Answer, Evaluation, score
from workloads.shards import ShardSet

HEADS = ["ensemble", "left", "right", "fuse", "body"]
CARD = CorpusCard(name="phoenix2014t", cleanup="phoenix2014t")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    return write_tiny_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_tiny_bundle(tmp_path_factory.mktemp("bundle") / "bundle", tiny_network(scale=30), corpus=CARD)


@pytest.fixture(scope="module")
def evaluation(bundle: Bundle, shards: ShardSet) -> Evaluation:
    return evaluate(bundle, shards, "test", run_pieces=in_this_process)


def recognition(name: str, confidence: float = 0.9, **sentences: str) -> Recognition:
    def answer(sentence: str) -> HeadAnswer:
        words = sentence.split()
        glosses = [RecognisedGloss(gloss=word, confidence=confidence, start_frame=0, end_frame=4, start_s=None, end_s=None) for word in words]
        return HeadAnswer(ids=(0,) * len(words), glosses=tuple(glosses), score=0.0)

    heads = {head: answer(sentence) for head, sentence in sentences.items()}
    return Recognition(name=name, num_frames=8, fps=None, heads=heads, low_confidence=confidence < 0.5)


def scored(*answers: Answer, vocabulary: Vocabulary = VOCABULARY, corpus: CorpusCard = CARD) -> Evaluation:
    return score(answers, vocabulary=vocabulary, corpus=corpus, decoding=DecodingOptions(), split="test")


def test_errors_are_counted_by_head_signer_and_pair() -> None:
    evaluation = scored(
        Answer(signer="b", glosses=("HAUS", "REGEN"), outcome=recognition("1", ensemble="HAUS SONNE", fuse="HAUS REGEN")),
        Answer(signer="a", glosses=("HAUS", "REGEN", "MORGEN"), outcome=recognition("2", 0.2, ensemble="REGEN MORGEN SONNE", fuse="")),
        Answer(signer="", glosses=("MORGEN",), outcome=recognition("3", ensemble="SONNE", fuse="MORGEN")),
    )
    ensemble = evaluation.errors["ensemble"]
    assert (ensemble.substitutions, ensemble.deletions, ensemble.insertions, ensemble.correct) == (2, 1, 1, 3)
    assert evaluation.wer == pytest.approx({"ensemble": 100 * 4 / 6, "fuse": 50})
    assert evaluation.published_protocol_wer == pytest.approx(50)
    assert {signer: errors.errors for signer, errors in evaluation.by_signer.items()} == {"(not stated)": 1, "a": 2, "b": 1}
    assert evaluation.confused == [("MORGEN", "SONNE", 1), ("REGEN", "SONNE", 1)]
    record = evaluation.record()
    assert record["num_low_confidence"] == 1
    assert record["wer_interval"]["low"] <= record["wer_interval"]["value"] == pytest.approx(record["wer"]["ensemble"])
    assert [(bucket["from"], bucket["to"], bucket["reference_glosses"]) for bucket in record["lengths"]] == [(0, 4, 6)]
    assert record["published_protocol_wer"] == pytest.approx(50)
    assert "never select" in record["published_protocol_note"]


def test_unknown_reference_glosses_are_scored_as_written_and_reported() -> None:
    evaluation = scored(
        Answer(signer="", glosses=("WOLKE", "REGEN"), outcome=recognition("1", ensemble="<unk> REGEN")),
        Answer(signer="", glosses=("WOLKE", "NEBEL", "HAUS"), outcome=recognition("2", ensemble="HAUS")),
    )
    assert evaluation.unknown == {"WOLKE": 2, "NEBEL": 1}
    assert (evaluation.errors["ensemble"].substitutions, evaluation.errors["ensemble"].deletions) == (1, 2)


def test_both_sides_are_cleaned_and_case_follows_the_vocabulary() -> None:
    lower = Vocabulary(entries=("<si>", "nord", "regen"), lower_case=True)
    answer = Answer(signer="", glosses=("loc-NORDRAUM", "Regen", "REGEN"), outcome=recognition("1", ensemble="loc-nord regen"))
    assert scored(answer, vocabulary=lower).clips[0].reference == ("LOC-NORD", "REGEN")
    assert scored(answer, vocabulary=lower).wer["ensemble"] == 0
    assert scored(answer, corpus=CorpusCard(name="other")).clips[0].reference == ("loc-NORDRAUM", "Regen", "REGEN")


def test_clips_without_a_score_are_listed() -> None:
    evaluation = scored(
        Answer(signer="", glosses=("HAUS",), outcome=recognition("1", ensemble="HAUS")),
        Answer(signer="", glosses=None, outcome=recognition("2", ensemble="HAUS")),
        Answer(signer="", glosses=("HAUS",), outcome=Unanswered(name="3", reason="too short: 2 frames")),
    )
    assert [(clip.name, clip.reason) for clip in evaluation.unscored] == [
        ("2", "no gloss annotation: there is nothing to compare with"),
        ("3", "too short: 2 frames"),
    ]
    with pytest.raises(CorpusError, match="split 'test': none of 1 clips can be scored; the first, 3: too short"):
        scored(Answer(signer="", glosses=("HAUS",), outcome=Unanswered(name="3", reason="too short: 2 frames")))
    with pytest.raises(CorpusError, match="the references of its 1 clips hold no gloss"):
        scored(Answer(signer="", glosses=("__EMOTION__",), outcome=recognition("1", ensemble="HAUS")))


def test_a_split_is_evaluated_clip_by_clip_in_order(evaluation: Evaluation, bundle: Bundle, shards: ShardSet) -> None:
    assert [clip.name for clip in evaluation.clips] == [*(f"test/{number}" for number in range(NUM_CLIPS)), "test/unknown"]
    assert list(evaluation.wer) == HEADS
    assert evaluation.unknown == {"WOLKE": 1}
    assert [clip.name for clip in evaluation.unscored] == ["test/silent"]
    assert (evaluation.shards_checksum, evaluation.weights_checksum) == (shards.checksum, bundle.checksum)
    alone = {outcome.name: outcome for outcome in bundle.recogniser().recognise(shards.rows("test"), batch_size=1)}
    for clip in evaluation.clips:
        assert {head: tuple(answer.words) for head, answer in alone[clip.name].heads.items()} == dict(clip.hypotheses)
        assert word_errors([clip.reference], [clip.hypotheses["fuse"]]) == clip.errors["fuse"]


def test_the_order_in_which_pieces_finish_changes_nothing(evaluation: Evaluation, bundle: Bundle, shards: ShardSet) -> None:
    def backwards(recogniser: Recogniser, work: Sequence[Piece], batch_size: int) -> Iterator[tuple[int, list[Answer]]]:
        for number in reversed(range(len(work))):
            yield number, answer_piece(recogniser, work[number], batch_size)

    assert len(pieces(shards, "test")) == 2
    assert evaluate(bundle, shards, "test", run_pieces=backwards) == evaluation


def test_head_and_beam_can_be_chosen(bundle: Bundle, shards: ShardSet, evaluation: Evaluation) -> None:
    body = evaluate(bundle, shards, "test", decoding=DecodingOptions(head="body", method="greedy"), run_pieces=in_this_process)
    assert (body.head, next(iter(body.wer))) == ("body", "body")
    assert body.clips != evaluation.clips


def test_files_and_table(bundle: Bundle, shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--bundle", str(bundle.folder), "--shards", str(shards.path), "--in-process", "--out", str(tmp_path / "out")])
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert (tmp_path / "out" / "wer.png").stat().st_size > 5000
    assert list(record["wer"]) == HEADS
    assert record["errors"]["ensemble"]["reference_glosses"] == sum(len(line["reference"].split()) for line in lines)
    assert sum(sum(line["errors"]["ensemble"].values()) for line in lines) == pytest.approx(record["wer"]["ensemble"] * 74 / 100)
    assert list(lines[0]["hypotheses"]) == HEADS
    printed = capsys.readouterr().out
    for expected in (
        "ensemble (answers)",
        "Signer1",
        "Most confused",
        "published protocol",
        "lacks, each counted as an error: WOLKE (1)",
        "not scored: test/silent",
    ):
        assert expected in printed
    assert "not scored: test/silent: no gloss annotation" in printed


def test_the_scored_corpus_is_told_from_the_learned_one(shards: ShardSet, tmp_path: Path) -> None:
    bundle = save_tiny_bundle(tmp_path / "bundle", tiny_network(scale=30), corpus=CorpusCard(name="mine"))
    record = evaluate(bundle, shards, "test", run_pieces=in_this_process).record()
    assert (record["corpus"], record["trained_on"], record["cleanup"]) == ("phoenix2014t", "mine", "none")


def test_json_on_the_command_line(bundle: Bundle, shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main(["--bundle", str(bundle.folder), "--shards", str(shards.path), "--in-process", "--out", str(out), "--format", "json", "--head", "fuse", "--beam", "1"])
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((out / "evaluation.json").read_text())
    assert (record["head"], record["decoding"]["beam_width"], record["fusion"]) == ("fuse", 1, None)


def test_a_language_model_decides_and_the_results_name_it(shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = save_undecided_bundle(tmp_path / "bundle")
    model = write_language_model(tmp_path / "glosses.arpa", HAUS=-3.0, REGEN=-0.1)
    out = tmp_path / "out"
    arguments = ["--bundle", str(bundle.folder), "--shards", str(shards.path), "--in-process", "--out", str(out)]

    def recognised() -> set[str]:
        return {gloss for line in (out / "predictions.jsonl").read_text().splitlines() for gloss in json.loads(line)["hypotheses"]["ensemble"].split()}

    main(arguments)
    assert "HAUS" in recognised()
    main([*arguments, "--lm", str(model), "--alpha", "2", "--hot-word", "REGEN=0.5"])
    assert recognised() == {"REGEN"}
    printed = capsys.readouterr()
    assert "added to the search: language model glosses.arpa (alpha 2, beta 1), hot word REGEN (+0.5)" in printed.out
    assert printed.err.count("lacks 2 of 4 glosses (MORGEN, SONNE)") == 1
    record = json.loads((out / "evaluation.json").read_text())
    assert record["decoding"]["method"] == "prefix_beam"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert record["fusion"] == {"language_model": "glosses.arpa", "sha256": digest, "alpha": 2.0, "beta": 1.0, "hot_words": {"REGEN": 0.5}}
    with pytest.raises(LanguageModelError, match="--alpha weighs a language model, and there is none"):
        main([*arguments, "--alpha", "1"])


def test_a_released_checkpoint_is_evaluated(shards: ShardSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": export(tiny_network(scale=30))}, tmp_path / "best.pth")
    pickled = {gloss.lower(): index for index, gloss in enumerate(VOCABULARY.entries)}
    (tmp_path / "gloss2ids.pkl").write_bytes(pickle.dumps(pickled))
    recipe = {"system": "mska_slr", "data": {"shards": "unused"}, "network": OPTIONS.model_dump(mode="json"), "decoding": {"head": "fuse"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["--published", str(tmp_path / "best.pth"), "--shards", str(shards.path), "--in-process", "--out", str(tmp_path / "out")]
    main([*arguments, "--recipe", str(tmp_path / "tiny.yaml"), "--vocabulary", str(tmp_path / "gloss2ids.pkl"), "--format", "json"])
    record = json.loads(capsys.readouterr().out)
    bundle = load_bundle(tmp_path / "out" / "bundle")
    assert (record["head"], record["weights"], bundle.corpus.cleanup) == ("fuse", bundle.checksum, "phoenix2014t")
    with pytest.raises(SystemExit):
        main(arguments)
    assert "--published and --recipe go together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--bundle", str(bundle.folder), "--shards", str(shards.path), "--member", "bone", "--any-stream"])
    assert "--member, --any-stream goes with --published" in capsys.readouterr().err


def test_mistakes_are_named(bundle: Bundle, shards: ShardSet, tmp_path: Path) -> None:
    def run(*changes: str) -> None:
        main(["--bundle", str(bundle.folder), "--shards", str(shards.path), "--in-process", "--out", str(tmp_path), *changes])

    with pytest.raises(ShardError, match=r"has no split 'exam': its splits are"):
        run("--split", "exam")
    with pytest.raises(BundleError, match=r"--head nose: no head of .*; there are ensemble, left"):
        run("--head", "nose")
    with pytest.raises(SystemExit):
        run("--out", str(bundle.folder / "bundle.json"))
    with pytest.raises(BundleError, match="nowhere: no such bundle"):
        run("--bundle", str(tmp_path / "nowhere"))
    with pytest.raises(CorpusError, match="split 'dev': none of 1 clips can be scored; the first, dev/0: no gloss annotation"):
        run("--split", "dev")


def test_shards_of_another_layout_are_refused_with_the_counts(shards: ShardSet, tmp_path: Path) -> None:
    options = tiny_network().options.model_copy(update={"num_keypoints": 140})
    bundle = save_tiny_bundle(tmp_path / "bundle", options=options, inputs=KeypointInputs(num_keypoints=140))
    with pytest.raises(CorpusError, match="wrong keypoint count: 133 points found, 140 expected"):
        evaluate(bundle, shards, "test", run_pieces=in_this_process)


def test_a_bundle_of_a_newer_version_is_refused(shards: ShardSet, tmp_path: Path) -> None:
    folder = save_tiny_bundle(tmp_path / "bundle").folder
    record = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(BundleError, match="a bundle of a newer version"):
        main(["--bundle", str(folder), "--shards", str(shards.path), "--in-process"])
    with pytest.raises(BundleError, match="a bundle of a newer version"):
        load_bundle(folder)


def test_the_tiny_corpus_asks_for_known_glosses(shards: ShardSet) -> None:
    assert {gloss for row in shards.index("test")[:NUM_CLIPS] for gloss in row.glosses or ()} == set(GLOSSES)
