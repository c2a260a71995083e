"""Gloss-to-text and sign-to-text from shards to scores, in this process: start, rates, frozen parts, bundle, evaluation, errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.bundle import Bundle, load_bundle
from models.ensemble import Ensemble
from models.errors import RecipeError, SignrayError, TrainingError
from models.mska.network import Mska
from models.mska.published import export
from models.published.loading import renamed
from models.translation.attention import cross_attention, evaluation_heads
from models.translation.network import SignToText
from models.translation.published import MAPPER, TRANSLATOR_RENAMES
from models.translation.recogniser import TranslatingRecogniser
from models.translation.small import save_small_mbart
from models.translation.tokens import TranslationTokens
from serve.schemas import Answer
from tests.unit.serve.in_process import call, local_api, npz
from tests.unit.tiny import tiny_clip
from tests.unit.workloads.tiny_runs import CORPUS, TINY_MBART, altered_shards
from workloads.evaluate import evaluate
from workloads.evaluate import main as evaluate_main
from workloads.evaluation_runners import in_this_process
from workloads.part_runners import in_this_process as write_here
from workloads.predict import main as predict
from workloads.preprocess import PreprocessOptions, preprocess
from workloads.prune_mbart import main as prune_main
from workloads.recipe import Recipe, load_recipe
from workloads.scoring import Evaluation
from workloads.shards import ShardSet
from workloads.training.events import EVENTS, read_events
from workloads.training.optim import make_optimizer
from workloads.training.run import Result, new_run, train

RECOGNISER = "network.recogniser={blocks: [[4, 4, 2, 3, 2], [4, 8, 2, 3, 2]], num_subsets: 2, head: {hidden_size: 16, ff_size: 16}}"
SHORT = ("train.epochs=1", "train.batch_size=4", "train.num_workers=0", "tracking.register_as=null", "validation.text_beam_width=2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of glosses and text, a small mBART of them, pruned to them by the command."""
    folder = tmp_path_factory.mktemp("translation")
    settings = {key: str(value) for key, value in (CORPUS | {"pairs": 10}).items()}
    shards = preprocess(PreprocessOptions(corpus="synthetic", out=folder / "pairs", settings=settings), write_here).shards
    texts = [row.text for row in shards.index("train") if row.text]
    save_small_mbart(folder / "full", texts, TINY_MBART, num_pieces=80, seed=1)
    prune_main(["--mbart", str(folder / "full"), "--shards", str(folder / "pairs"), "--language", "de_DE", "--out", str(folder / "lm")])
    return folder


def recipe_of(folder: Path, name: str, system: str, shards: Path, start: Path, *overrides: str) -> Recipe:
    path = folder / f"{name}.yaml"
    path.write_text(f"system: {system}\ndata: {{shards: {shards}}}\ninit: {{translator: {start}}}\nrun: {{root: {folder / 'runs'}, name: {name}}}\n")
    return load_recipe(str(path), [*SHORT, "decoding.text={max_length: 12, n_best: 3}", *overrides])


def trained(recipe: Recipe) -> Result:
    return train(*new_run(recipe))


@pytest.fixture(scope="module")
def g2t(folder: Path) -> Bundle:
    bundle = trained(
        recipe_of(folder, "g2t", "g2t", folder / "pairs", folder / "lm", "optim.frozen=[translator.gloss_embedding]", "optim.schedule=constant")
    ).bundle
    assert isinstance(bundle, Bundle)
    return bundle


@pytest.fixture(scope="module")
def members(folder: Path, g2t: Bundle, tiny_shards: Path) -> Result:
    """Two translators, of other heads, that are trained as the members of one recipe."""
    rates = "optim.rates={translator: 1.0e-5, mapper: 2.0e-3}"
    ensemble = "ensemble={members: {whole: {network.head: fuse}, trunk: {network.head: body}}, weights: {whole: 2.0}}"
    return trained(recipe_of(folder, "joint", "mska_slt", tiny_shards, g2t.folder, RECOGNISER, rates, "optim.schedule=constant", ensemble))


@pytest.fixture(scope="module")
def joint(members: Result) -> Bundle:
    return load_bundle(members.folder / "members" / "whole" / "bundle")


def test_pruning_reports_sizes(folder: Path) -> None:
    report = json.loads((folder / "lm" / "report.json").read_text())
    assert report["text_tokens"]["after"] < report["text_tokens"]["before"]
    assert report["unknown_share"] == 0
    assert report["sentences"] == 10 + 26 + 5 + 2


def test_frozen_parts_stay_and_the_rest_learns(folder: Path, g2t: Bundle) -> None:
    before = TranslationTokens.load(folder / "lm")
    assert g2t.tokens == before
    assert "translator.mbart.model.shared.weight" in g2t.tied
    weights = load_file(g2t.folder / "weights.safetensors")
    start, rows = load_file(folder / "lm" / "gloss_embeddings.safetensors")["weight"], load_file(folder / "lm" / "model.safetensors")
    assert torch.equal(weights["translator.gloss_embedding.weight"], start)
    assert not torch.equal(weights["translator.mbart.model.encoder.layers.0.fc1.weight"], rows["model.encoder.layers.0.fc1.weight"])


def test_a_released_checkpoint_is_evaluated_as_it_was_trained(joint: Bundle, folder: Path, tiny_shards: Path, tmp_path: Path) -> None:
    network = joint.network()
    assert isinstance(network, SignToText)
    assert isinstance(network.recogniser, Mska)
    released = export(network.recogniser) | {MAPPER + name: value for name, value in network.mapper.state_dict().items()}
    released |= {renamed(name, TRANSLATOR_RENAMES): value for name, value in network.translator.state_dict().items()}
    torch.save({"model": released}, tmp_path / "best.pth")
    recipe_of(tmp_path, "released", "mska_slt", tiny_shards, folder / "lm")
    options = [option for name in (RECOGNISER, "decoding.text={max_length: 12, n_best: 3}") for option in ("--set", name)]
    command = ["--published", str(tmp_path / "best.pth"), "--recipe", str(tmp_path / "released.yaml"), *options]
    evaluate_main([*command, "--shards", str(tiny_shards), "--split", "dev", "--out", str(tmp_path / "out"), "--workers", "local"])
    own = evaluate(joint, ShardSet.open(tiny_shards), "dev", run_pieces=in_this_process, out=tmp_path / "own")
    assert isinstance(own, Evaluation)
    assert (tmp_path / "out" / "predictions.jsonl").read_text() == (tmp_path / "own" / "predictions.jsonl").read_text()


def test_the_service_translates(joint: Bundle, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "clip.npz").write_bytes(npz(tiny_clip(num_frames=40)))
    assert predict(["--bundle", str(joint.folder), "--format", "json", "--n-best", "2", str(tmp_path / "clip.npz")]) == 0
    expected = json.loads(capsys.readouterr().out)["clips"][0]
    body, query = (tmp_path / "clip.npz").read_bytes(), {"name": expected["name"], "n_best": 2}
    response = call(local_api(joint.folder), "POST", "/v1/translate", content=body, params=query, headers={"Content-Type": "application/x-npz"})
    answer = Answer.model_validate(response.json())
    assert {key: response.json()[key] for key in expected} == expected
    assert answer.texts
    assert len(answer.texts) == 2
    assert answer.text == answer.texts[0].text
    assert answer.model.translates


def test_a_joint_training_starts_from_the_translator_and_reports_both_losses(joint: Bundle, g2t: Bundle) -> None:
    events = read_events(joint.folder.parent / EVENTS)
    steps = [event for event in events if event["kind"] == "step"]
    assert set(steps[0]["terms"]) == {"loss", "translation", "ctc_left", "ctc_right", "ctc_fuse", "ctc_body"}
    [validation] = [event for event in events if event["kind"] == "validation"]
    assert validation["metric"] == "bleu4"
    assert {"wer_ensemble", "rouge_l", "chrf", "bleu1"} <= validation["beside"].keys()
    ours, theirs = load_file(joint.folder / "weights.safetensors"), load_file(g2t.folder / "weights.safetensors")
    name = "translator.mbart.model.encoder.layers.0.fc1.weight"
    assert (ours[name] - theirs[name]).abs().max() < 6 * 2e-5  # six steps of Adam at 1e-5: it began where gloss-to-text ended
    assert joint.options.translator.mbart.vocab_size == g2t.options.translator.mbart.vocab_size  # type: ignore[attr-defined]


def test_translators_are_trained_as_the_members_of_one_recipe(members: Result) -> None:
    ensemble = members.bundle
    assert isinstance(ensemble, Ensemble)
    assert ensemble.translates
    assert ensemble.weights == {"whole": 2.0, "trunk": 1.0}
    assert [bundle.options.head for bundle in ensemble.members.values()] == ["fuse", "body"]  # type: ignore[attr-defined]
    assert members.metric == "bleu4"
    assert members.dev_scores is not None
    assert set(members.dev_scores) == {"ensemble", "whole", "trunk"}
    assert set(ensemble.metrics) == {"dev_bleu4", "dev_rouge_l", "dev_wer", "dev_clips"}


def test_an_evaluation_gives_text_beside_glosses(joint: Bundle, tiny_shards: Path, tmp_path: Path) -> None:
    evaluation = evaluate(joint, ShardSet.open(tiny_shards), "dev", run_pieces=in_this_process, out=tmp_path)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.texts is not None
    record = json.loads((tmp_path / "evaluation.json").read_text())["translation"]
    assert [entry["convention"] for entry in record["conventions"]] == ["13a"]
    assert set(record["conventions"][0]) >= {"bleu1", "bleu4", "rouge_l", "chrf", "bleu_signature"}
    assert sum(entry["num_clips"] for entry in record["lengths"]) == 5
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert [len(line["texts"]) for line in lines] == [3] * 5
    assert all(line["texts"][0]["score"] >= line["texts"][2]["score"] for line in lines)


def test_answers_do_not_depend_on_batch_mates(joint: Bundle, tiny_shards: Path) -> None:
    recogniser = joint.recogniser()
    assert isinstance(recogniser, TranslatingRecogniser)
    clips = list(ShardSet.open(tiny_shards).rows("dev"))
    together = list(recogniser.recognise(clips, batch_size=5))
    alone = list(recogniser.recognise(clips, batch_size=1))
    assert [answer.texts[0].text for answer in together] == [answer.texts[0].text for answer in alone]
    heads = evaluation_heads(recogniser.network, recogniser.inputs, clips[:1])
    weights = cross_attention(recogniser.network, heads, [6, 30, 31])
    assert weights.shape[0] == 3
    assert weights.sum(1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)


def test_gloss_to_text_translates_given_glosses(g2t: Bundle, folder: Path) -> None:
    evaluation = evaluate(g2t, ShardSet.open(folder / "pairs"), "dev", run_pieces=in_this_process)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.wer == {"given": 0.0}
    assert evaluation.texts is not None
    assert len(evaluation.texts.clips) == 5


def test_starting_points_that_do_not_fit_are_refused(folder: Path, g2t: Bundle, tiny_shards: Path) -> None:
    for system, start, overrides, message in (
        ("g2t", folder / "lm", ("init={}",), "g2t needs a language model"),
        ("g2t", folder / "lm", (f"init.recogniser={g2t.folder}",), r"init\.recogniser is nothing that g2t begins with"),
        ("mska_slt", folder / "nothing", (), r"nothing/config\.json: no such file"),
    ):
        with pytest.raises(SignrayError, match=message):
            new_run(recipe_of(folder, "refused", system, tiny_shards, start, *overrides))
    options, network = recipe_of(folder, "refused", "g2t", tiny_shards, folder / "lm", "optim.rates={nothing: 1}").optim, g2t.network()
    with pytest.raises(RecipeError, match=r"optim\.rates: the network has no part 'nothing'"):
        make_optimizer(options, network)
    silent = altered_shards(tiny_shards, folder / "silent", lambda row: row | {"text": None})
    with pytest.raises(TrainingError, match="26 training clips have no text"):
        new_run(recipe_of(folder, "refused", "g2t", silent, folder / "lm"))
