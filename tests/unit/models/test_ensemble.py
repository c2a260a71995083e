"""Ensemble bundles: written from members, read back whole, refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle
from models.bundle_record import RECORD_FILE
from models.class_map import ClassMap
from models.dsta_slr.streams import Stream
from models.ensemble import Ensemble, load, load_ensemble, save_ensemble
from models.errors import BundleError
from tests.unit.tiny import save_tiny_bundle
from tests.unit.tiny_signs import CLASSES, save_tiny_sign_bundle, tiny_sign_clip

WEIGHTS = {"joint": 1.5, "bone": 0.5}


def saved(folder: Path, weights: Mapping[str, float] = WEIGHTS) -> Ensemble:
    members = {
        "joint": save_tiny_sign_bundle(folder / "a", seed=1),
        "bone": save_tiny_sign_bundle(folder / "b", seed=2, stream=Stream.BONE, samples=[tiny_sign_clip(label="HAUS")]),
    }
    return save_ensemble(folder / "both", members, weights, metrics={"dev_top1": {"ensemble": 97.5}}, provenance={}, recipe={"recipe": "four"})


def test_an_ensemble_comes_back_as_it_was_written(tmp_path: Path) -> None:
    written = saved(tmp_path)
    read = load(tmp_path / "both")
    assert isinstance(read, Ensemble)
    assert (read.weights, read.checksum, read.task, read.system) == (WEIGHTS, written.checksum, "islr", "dsta_slr")
    assert (read.classes, read.decoding.head, read.answering) == (CLASSES, "ensemble", ("ensemble", "joint", "bone"))
    assert read.metrics == {"dev_top1": {"ensemble": 97.5}}
    [one], [two] = (list(ensemble.recogniser().recognise([tiny_sign_clip()])) for ensemble in (written, read))
    assert np.array_equal(one.answer.logits, two.answer.logits)


def test_its_card_names_members_weights_and_scores(tmp_path: Path) -> None:
    card = (saved(tmp_path).folder / "README.md").read_text(encoding="utf-8")
    for expected in ("# Ensemble of joint, bone on synthetic", "| joint | 1.5 | 75.0% |", "dev_top1.ensemble | 97.50", "7 signs", "generated: free to use"):
        assert expected in card


def test_other_weights_are_another_checksum(tmp_path: Path) -> None:
    assert saved(tmp_path / "one").checksum != saved(tmp_path / "two", {"joint": 1.5, "bone": 0.6}).checksum


def test_a_bundle_loads_by_the_same_door(tmp_path: Path) -> None:
    bundle = save_tiny_sign_bundle(tmp_path / "bundle")
    assert load(tmp_path / "bundle") == bundle
    with pytest.raises(BundleError, match="the bundle of one network, and an ensemble is needed"):
        load_ensemble(tmp_path / "bundle")


def test_an_ensemble_is_no_bundle_of_one_network(tmp_path: Path) -> None:
    saved(tmp_path)
    with pytest.raises(BundleError, match=r"an ensemble, and the bundle of one network is needed: give one of .*members"):
        load_bundle(tmp_path / "both")


def test_a_damaged_member_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "both" / "members" / "bone" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"1234")
    with pytest.raises(BundleError, match=r"members/bone/weights.safetensors: its contents differ"):
        load(tmp_path / "both")


def test_a_member_outside_the_folder_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "both" / RECORD_FILE
    record = json.loads(file.read_text(encoding="utf-8"))
    record["members"]["bone"]["folder"] = "../b"
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(BundleError, match=r"member 'bone' lies in '../b'"):
        load(tmp_path / "both")


def test_a_head_that_cannot_answer_is_refused(tmp_path: Path) -> None:
    saved(tmp_path)
    file = tmp_path / "both" / RECORD_FILE
    record = json.loads(file.read_text(encoding="utf-8"))
    record["decoding"]["head"] = "nope"
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(BundleError, match=r"decoding.head: 'nope' can't answer; there are: ensemble, joint, bone"):
        load(tmp_path / "both")


def test_members_must_fit_together(tmp_path: Path) -> None:
    joint = save_tiny_sign_bundle(tmp_path / "joint")
    reordered = save_tiny_sign_bundle(tmp_path / "other", classes=ClassMap(tuple(reversed(CLASSES.labels))))
    sentences = save_tiny_bundle(tmp_path / "sentences")
    facts: dict[str, dict[str, object]] = {"metrics": {}, "provenance": {}}
    with pytest.raises(BundleError, match="the classes of other are not those of joint"):
        save_ensemble(tmp_path / "e", {"joint": joint, "other": reordered}, {"joint": 1, "other": 1}, **facts)
    with pytest.raises(BundleError, match=r"recognises sentences \(mska_slr\)"):
        save_ensemble(tmp_path / "e", {"joint": joint, "sentences": sentences}, {"joint": 1, "sentences": 1}, **facts)
    with pytest.raises(BundleError, match="a weight of each, and a sum of weights above 0"):
        save_ensemble(tmp_path / "e", {"joint": joint}, {"joint": 0}, **facts)
    assert not (tmp_path / "e").exists()


def test_a_network_of_signs_is_no_recogniser_of_sentences(tmp_path: Path) -> None:
    bundle = save_tiny_sign_bundle(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"recognises isolated signs \(dsta_slr\)"):
        _ = bundle.vocabulary
    assert {path.name for path in bundle.folder.iterdir()} == {"bundle.json", "README.md", "classes.json", "weights.safetensors"}
    assert "7 signs" in (bundle.folder / "README.md").read_text(encoding="utf-8")
