"""The model card says of every system what goes in and what comes out, and how it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.bundle_record import FORMAT, BundleRecord, CorpusCard
from models.class_map import ClassMap
from models.ensemble import save_ensemble
from models.inputs.inputs import Inputs
from models.model_card import commands, model_card
from models.systems import SYSTEMS
from models.twostream.inputs import SingleStreamInputs
from tests.unit.models.translation.bundles import save_translator
from tests.unit.tiny import VOCABULARY, save_tiny_bundle
from tests.unit.tiny_signs import save_tiny_sign_bundle

SLR = "Continuous sign language recognition: {} of a signer in, a sequence of glosses out"
SLT = "Sign language translation: {} of a signer in, spoken-language text and glosses out"
KEYPOINTS = "It takes keypoint files (`.npz`, `.pose`) of 133 points in the order of COCO-WholeBody: x, y in pixels and a confidence for each frame."
PICTURES, BOTH = "It takes videos, and folders of a clip's pictures.", "It takes a table of clips that names, in the columns `path` and `keypoints`, "

CARDS: dict[str, tuple[str, str, str]] = {  # what it is, what it takes, what `predict` is given
    "mska_slr": (SLR.format("keypoints"), KEYPOINTS, "clip.npz"),
    "mska_slt": (SLT.format("keypoints"), KEYPOINTS, "clip.npz"),
    "dsta_slr": ("Isolated sign recognition: keypoints of one sign in, its name out", "(`.npz`, `.pose`) of 27 or 133 points: x, y", "clip.npz"),
    "singlestream_slr": (SLR.format("pictures"), PICTURES, "clip.mp4"),
    "singlestream_slt": (SLT.format("pictures"), PICTURES, "clip.mp4"),
    "twostream_slr": (SLR.format("pictures and keypoints"), BOTH, "--manifest clips.csv"),
    "twostream_slt": (SLT.format("pictures and keypoints"), BOTH, "--manifest clips.csv"),
    "slowfastsign": (SLR.format("pictures"), PICTURES, "clip.mp4"),
    "mstfnet": (SLR.format("pictures"), PICTURES, "clip.mp4"),
    "corrnet": (SLR.format("pictures"), PICTURES, "clip.mp4"),
    "g2t": ("Gloss-to-text translation: glosses in, spoken-language text out", "It takes clips of shards, and reads their annotated glosses.", ""),
}


def card(system: str, inputs: Inputs | None = None) -> str:
    known = SYSTEMS[system]
    inputs = inputs or known.inputs()
    decoding = known.decoding(head=known.answering[0])
    record = BundleRecord(
        format=FORMAT,
        kind="network",
        signray="1",
        task=known.task,
        system=system,
        network={},
        inputs=inputs.model_dump(mode="json"),
        decoding=decoding.model_dump(mode="json"),
        corpus=CorpusCard(name="synthetic", extractors=("rtmw 1",)),
        metrics={"dev": {"score": 12.5}},
        provenance={},
        tied={},
        files={},
    )
    return model_card(record, ClassMap(("HAUS", "BAUM")) if known.task == "islr" else VOCABULARY, decoding, inputs, num_weights=10)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_says_what_goes_in_and_what_comes_out(system: str) -> None:
    text, (what, takes, given) = card(system), CARDS[system]
    assert what in text
    assert takes in text
    assert f"predict.py --bundle THIS_FOLDER {given}\n" in text if given else "predict.py" not in text
    assert ("Keypoints estimated by: rtmw 1" in text, "keypoint estimators" in text) == ("keypoints" in what,) * 2
    assert ("recognition.texts[0].text" in text, "`bleu4`" in text, "A text may read well" in text) == (SYSTEMS[system].translates,) * 3
    assert ("recognition.answer.label" in text, "top1" in text) == (SYSTEMS[system].task == "islr",) * 2
    assert ("`wer`" in text) == ("glosses out" in what)


def test_a_stream_of_heatmaps_takes_keypoints() -> None:
    text = card("singlestream_slr", SingleStreamInputs(stream="keypoint"))
    assert SLR.format("keypoints") in text
    assert KEYPOINTS in text


def test_what_an_ensemble_takes_is_what_all_its_members_take() -> None:
    signs, sentences, pictures = (SYSTEMS[system].inputs() for system in ("dsta_slr", "mska_slr", "corrnet"))
    assert "of 133 points in the order" in commands([signs, sentences])
    assert BOTH in commands([pictures, sentences])


def test_cards_of_ensembles(tmp_path: Path) -> None:
    translators = {system: save_translator(tmp_path / system, system) for system in ("mska_slt", "twostream_slt")}
    members = {
        "signs": {name: save_tiny_sign_bundle(tmp_path / name, seed=seed) for seed, name in enumerate(("a", "b"))},
        "texts": translators,
        "glosses": {"recogniser": save_tiny_bundle(tmp_path / "recogniser"), "translator": translators["mska_slt"]},
        "given": {"one": save_translator(tmp_path / "one", "g2t"), "two": save_translator(tmp_path / "two", "g2t", seed=1)},
    }
    cards = {}
    for name, bundles in members.items():
        save_ensemble(tmp_path / "both" / name, bundles, dict.fromkeys(bundles, 1.0), metrics={}, provenance={})
        cards[name] = (tmp_path / "both" / name / "README.md").read_text(encoding="utf-8")
    assert "Isolated sign recognition: keypoints of one sign in" in cards["signs"]
    assert "of 27 or 133 points" in cards["signs"]
    assert SLT.format("pictures and keypoints") in cards["texts"]
    assert "--bundle THIS_FOLDER --manifest clips.csv" in cards["texts"]
    assert SLR.format("keypoints") in cards["glosses"]  # one member of two answers texts, so the ensemble doesn't
    assert "averaged" not in cards["glosses"]
    assert "Gloss-to-text translation: glosses in, spoken-language text out" in cards["given"]
    assert "`wer`" not in cards["given"]
    assert "predict.py" not in cards["given"]
