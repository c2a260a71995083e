"""Ensembles of translators as bundles: one search over members of different systems, their weights, what can't answer together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.answering import evaluation_heads
from models.batch import ENSEMBLE
from models.bundle import Bundle
from models.ensemble import Ensemble, load, save_ensemble
from models.errors import BundleError
from models.inputs.clip import Clip
from models.recognition import Recognition
from models.text import TextAnswer
from models.translation.generation import generate
from models.translation.joint import JointTranslator
from models.translation.recogniser import search_member, text_answers
from serve.schemas import Answer
from tests.unit.models.translation.bundles import TEXT_SEARCH, save_translator, tokens
from tests.unit.serve.in_process import call, local_api, npz
from tests.unit.tiny import tiny_clip
from tests.unit.workloads.filmed import coloured_clips

WEIGHTS = {"mska": 0.6, "single": 0.4}
SYSTEMS_OF = {"mska": "mska_slt", "single": "singlestream_slt"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    folder = tmp_path_factory.mktemp("members")
    return {name: save_translator(folder / name, system, seed=seed) for seed, (name, system) in enumerate(SYSTEMS_OF.items())}


@pytest.fixture(scope="module")
def ensemble(members: dict[str, Bundle], tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return save_ensemble(tmp_path_factory.mktemp("both") / "both", members, WEIGHTS, metrics={}, provenance={})


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [tiny_clip(f"clip{number}", seed=number, num_frames=frames) for number, frames in enumerate((24, 40, 32, 36))]


def answers(ensemble: Ensemble, clips: list[Clip], *, head: str = ENSEMBLE, batch_size: int = 4) -> list[Recognition]:
    recogniser = ensemble.recogniser(decoding=ensemble.decoding.model_copy(update={"head": head}))
    assert isinstance(recogniser, JointTranslator)
    return list(recogniser.recognise(clips, batch_size=batch_size))


def texts(found: list[Recognition]) -> list[tuple[TextAnswer, ...]]:
    return [outcome.texts for outcome in found]


def test_members_of_two_systems_make_one_sentence(ensemble: Ensemble, members: dict[str, Bundle], clips: list[Clip]) -> None:
    found = answers(ensemble, clips)
    spoken = []
    for name, bundle in members.items():
        network = bundle.network()
        spoken.append(search_member(network, evaluation_heads(network, bundle.inputs, clips), WEIGHTS[name]))
    wanted = text_answers(generate(spoken, TEXT_SEARCH, start=(tokens().text.language_id,)), tokens())
    assert [[entry.text for entry in entries] for entries in texts(found)] == [[entry.text for entry in entries] for entries in wanted]
    assert [entries[0].score for entries in texts(found)] == pytest.approx([entries[0].score for entries in wanted], abs=1e-5)
    assert len({entries[0].text for entries in texts(found)}) > 1
    alone = [outcome.texts[0].text for outcome in members["mska"].recogniser().recognise(clips)]  # type: ignore[union-attr]
    assert alone != [entries[0].text for entries in wanted]
    assert [outcome.texts[0].text for outcome in answers(ensemble, clips, head="mska")] == alone
    assert load(ensemble.folder).translates
    assert "averaged" in (ensemble.folder / "README.md").read_text(encoding="utf-8")


def test_a_clips_text_is_the_same_alone(ensemble: Ensemble, clips: list[Clip]) -> None:
    together, alone = answers(ensemble, clips), answers(ensemble, clips, batch_size=1)
    assert [outcome.texts[0].text for outcome in together] == [outcome.texts[0].text for outcome in alone]
    assert [outcome.answer.words for outcome in together] == [outcome.answer.words for outcome in alone]


def test_members_without_weight_say_nothing(members: dict[str, Bundle], clips: list[Clip], tmp_path: Path) -> None:
    one = save_ensemble(tmp_path / "one", members, {"mska": 1.0, "single": 0.0}, metrics={}, provenance={})
    assert texts(answers(one, clips)) == [outcome.texts for outcome in members["mska"].recogniser().recognise(clips, batch_size=4)]  # type: ignore[union-attr]


@pytest.mark.parametrize(("system", "trunk"), [("singlestream_slt", "trunk"), ("twostream_slt", "trunks.keypoint")])
def test_a_trunk_that_members_share_runs_once(system: str, trunk: str, tmp_path: Path) -> None:
    first = save_translator(tmp_path / "a", system, seed=1)
    members = {"a": first, "b": save_translator(tmp_path / "b", system, seed=2, trunk=first), "c": save_translator(tmp_path / "c", system, seed=3)}
    three = save_ensemble(tmp_path / "three", members, dict.fromkeys(members, 1.0), metrics={}, provenance={})
    recogniser = three.recogniser()
    assert isinstance(recogniser, JointTranslator)
    trunks = {name: member.network.get_submodule(f"recogniser.{trunk}") for name, member in recogniser.members.items()}
    assert trunks["a"] is trunks["b"] is not trunks["c"]
    runs: list[object] = []
    for module in (trunks["a"], trunks["c"]):
        module.layers[0].register_forward_hook(lambda *_: runs.append(1))  # type: ignore[union-attr, operator, index]
    clips = [clip for frames in (16, 24) for clip in coloured_clips([("A",)], side=32, num_frames=frames)]
    together = list(recogniser.recognise(clips))
    assert len(runs) == 2
    alone = replace(recogniser, members={name: replace(member, network=members[name].network()) for name, member in recogniser.members.items()})
    for ours, theirs in zip(together, alone.recognise(clips), strict=True):
        assert [entry.text for entry in ours.texts] == [entry.text for entry in theirs.texts]
        assert {name: head.words for name, head in ours.heads.items()} == {name: head.words for name, head in theirs.heads.items()}


def test_gloss_to_text_answers_together(clips: list[Clip], tmp_path: Path) -> None:
    pair = {name: save_translator(tmp_path / name, "g2t", seed=seed) for seed, name in enumerate(("a", "b"))}
    both = save_ensemble(tmp_path / "both", pair, {"a": 1.0, "b": 1.0}, metrics={}, provenance={})
    given = [tiny_clip("given", glosses=("REGEN", "HAUS")), tiny_clip("other", glosses=("MORGEN",))]
    found = answers(both, given)
    assert [outcome.answer.words for outcome in found] == [("REGEN", "HAUS"), ("MORGEN",)]
    assert all(len(outcome.texts) == TEXT_SEARCH.n_best for outcome in found)


def test_what_can_not_speak_together_is_one_line(members: dict[str, Bundle], tmp_path: Path) -> None:
    other = save_translator(tmp_path / "other", texts=("ganz andere saetze", "von anderen menschen gesagt"))
    given = save_translator(tmp_path / "given", "g2t")
    for bundle, message in (
        (other, "other doesn't share the tokenizer of mska, and members of an ensemble make one sentence token by token: train both from the same"),
        (given, r"gloss-to-text and networks that read clips \(given, mska\): an ensemble is of one kind"),
    ):
        with pytest.raises(BundleError, match=message) as raised:
            save_ensemble(
                tmp_path / "both", {"mska": members["mska"], bundle.folder.name: bundle}, {"mska": 1, bundle.folder.name: 1}, metrics={}, provenance={}
            )
        assert "\n" not in str(raised.value)


def test_the_service_translates_by_the_ensemble(ensemble: Ensemble, clips: list[Clip]) -> None:
    headers = {"Content-Type": "application/x-npz"}
    response = call(local_api(ensemble.folder), "POST", "/v1/translate", content=npz(clips[0]), params={"name": "clip0"}, headers=headers)
    answer = Answer.model_validate(response.json())
    [wanted] = answers(ensemble, clips[:1])
    assert answer.model.translates
    assert answer.text == wanted.texts[0].text
    assert answer.texts is not None
    assert [entry.text for entry in answer.texts] == [entry.text for entry in wanted.texts]
