"""Validation: every clip scored once, and what it complains of."""

from __future__ import annotations

import pytest

from models.inputs.keypoints import KeypointInputs
from models.systems import SYSTEMS
from tests.unit.tiny import GLOSSES, VOCABULARY, tiny_clip, tiny_network
from workloads.training.faults import some
from workloads.training.tasks import Answers, SentenceTask, Validation
from workloads.training.validation import merge, recognise, same_statistics

HEADS = ("ensemble", "left")


def task(references: dict[str, tuple[str, ...]] | None = None, *, corpus: str = "synthetic", beam_width: int = 1) -> SentenceTask:
    return SentenceTask(corpus=corpus, vocabulary=VOCABULARY, references=references or {}, beam_width=beam_width)


def scored(answers: dict[str, list[str]], references: dict[str, tuple[str, ...]]) -> Validation:
    return task(references).score({name: dict.fromkeys(HEADS, glosses) for name, glosses in answers.items()})


def test_scores_are_percent_of_the_references_glosses() -> None:
    validation = scored({"a": ["HAUS", "REGEN"], "b": ["SONNE"]}, {"a": ("HAUS", "SONNE"), "b": ("SONNE", "REGEN")})
    assert validation.scores == {"ensemble": 50.0, "left": 50.0}
    assert validation.num_clips == 2
    assert task().complaints(validation, "ensemble") == []


def test_clips_without_a_reference_are_not_scored() -> None:
    validation = scored({"a": ["HAUS"], "unlabelled": ["REGEN"]}, {"a": ("HAUS",)})
    assert validation.scores["ensemble"] == 0
    assert validation.num_clips == 1


def test_the_corpus_rules_count() -> None:
    references = {"a": ("HAUS", "__ON__", "loc-SONNE")}
    answers = {"a": {"ensemble": ["HAUS", "SONNE"]}}
    assert task(references).score(answers).scores["ensemble"] > 0
    assert task(references, corpus="phoenix2014t").score(answers).scores["ensemble"] == 0


def test_silence_in_every_clip_is_told_with_names() -> None:
    names = [f"clip{number}" for number in range(7)]
    validation = scored({name: [] for name in names}, dict.fromkeys(names, ("HAUS",)))
    [text] = task().complaints(validation, "ensemble")
    assert text.startswith("no head recognised a gloss in any of 7 dev clips (clip0, clip1, clip2, clip3, clip4 and 2 more)")


def test_a_rate_that_stays_at_100_is_told() -> None:
    validation = scored({"a": ["REGEN"], "b": []}, {"a": ("HAUS",), "b": ("SONNE",)})
    [text] = task().complaints(validation, "ensemble")
    told = "the WER of ensemble is 100 % after the warm-up, with no fewer errors than glosses in 2 of 2 dev clips (a, b): check the glosses, "
    assert text == told + "the clean-up rules and optim.lr"


def test_a_rate_of_100_names_a_few_of_the_recordings_that_make_it() -> None:
    """One is half right, one right; the chosen head counts, not the others."""
    answers: Answers = {f"clip{number}": {"ensemble": ["REGEN", "SONNE"], "left": ["HAUS"]} for number in range(7)}
    answers |= {"half": {"ensemble": ["HAUS"], "left": []}, "right": {"ensemble": ["SONNE"], "left": []}}
    references = {**{f"clip{number}": ("HAUS",) for number in range(7)}, "half": ("HAUS", "REGEN"), "right": ("SONNE",)}
    validation = task(references).score(answers)
    [text] = task().complaints(validation, "ensemble")
    assert text.startswith("the WER of ensemble is 150 % after the warm-up, ")
    assert "in 7 of 9 dev clips (clip0, clip1, clip2, clip3, clip4 and 2 more): " in text
    assert task().complaints(validation, "left") == []
    assert validation.missed["left"] == ("half", "right")


def test_some_names() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert some(list("abc"), limit=1) == "a and 2 more"


def test_the_answers_of_all_ranks_are_merged_and_a_repeated_clip_counts_once() -> None:
    assert merge([{"a": {"left": ["X"]}, "b": {"left": []}}, {"a": {"left": ["X"]}}]) == {"a": {"left": ["X"]}, "b": {"left": []}}


@pytest.mark.parametrize("beam_width", [1, 3])
def test_every_head_answers_for_every_clip_whatever_the_batch(beam_width: int) -> None:
    network = tiny_network(scale=30.0).train()
    clips = [tiny_clip(f"clip{number}", num_frames=12 + 7 * number, seed=number) for number in range(5)]
    arguments = {"system": SYSTEMS["mska_slr"], "inputs": KeypointInputs(), "task": task(beam_width=beam_width), "device": "cpu"}
    one, three = (recognise(network, clips, batch_size=size, **arguments) for size in (1, 3))  # type: ignore[arg-type]
    assert one == three
    assert one.keys() == {clip.name for clip in clips}
    assert all(list(heads) == ["ensemble", "left", "right", "fuse", "body"] for heads in one.values())
    assert {gloss for heads in one.values() for glosses in heads.values() for gloss in glosses} <= {*GLOSSES, *VOCABULARY.entries}
    assert not network.training  # the loop puts it back at the next step


def test_one_process_has_its_own_statistics() -> None:
    network = tiny_network()
    before = {name: value.clone() for name, value in network.named_buffers()}
    same_statistics(network)
    assert all((value == before[name]).all() for name, value in network.named_buffers())
