"""Bundles by the names that users give: folders, released checkpoints, the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle, CorpusCard, DecodingOptions
from models.errors import BundleError, CheckpointError
from models.inputs.keypoints import KeypointInputs
from models.mska.published import export
from models.vocabulary import Vocabulary
from tests.unit.tiny import OPTIONS, VOCABULARY, save_tiny_bundle, tiny_clip, tiny_network
from workloads.bundles import bundle_from_published, open_bundle


def published(tmp_path: Path, **changes: Any) -> Bundle:
    arguments: dict[str, Any] = {
        "system": "mska_slr",
        "options": OPTIONS,
        "inputs": KeypointInputs(),
        "classes": VOCABULARY,
        "decoding": DecodingOptions(head="fuse"),
        "corpus": CorpusCard(name="phoenix2014t", cleanup="phoenix2014t", lower_case=True),
    }
    return bundle_from_published(tmp_path / "best.pth", tmp_path / "bundle", **{**arguments, **changes})


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"model": export(tiny_network(3)), "epoch": 99}, tmp_path / "best.pth")
    return tmp_path / "best.pth"


def test_a_released_checkpoint_becomes_a_bundle_that_answers_as_it(checkpoint: Path, tmp_path: Path) -> None:
    bundle = published(tmp_path)
    ours = save_tiny_bundle(tmp_path / "ours", tiny_network(3), decoding=DecodingOptions(head="fuse"))
    assert next(bundle.recogniser().recognise([tiny_clip()])) == next(ours.recogniser().recognise([tiny_clip()]))
    assert bundle.provenance["published.checkpoint"] == "best.pth"
    assert len(bundle.provenance["published.sha256"]) == 64


def test_a_checkpoint_that_does_not_fit_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="check the widths and the vocabulary"):
        published(tmp_path, classes=Vocabulary(entries=(*VOCABULARY.entries, "WIND")))
    assert not (tmp_path / "bundle").exists()
    checkpoint.write_text("<html>quota exceeded</html>")
    with pytest.raises(CheckpointError, match="not a checkpoint that loads without running code"):
        published(tmp_path)


def test_a_folder_is_opened_and_the_registry_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = save_tiny_bundle(tmp_path / "bundle")
    assert open_bundle(str(bundle.folder)) == bundle
    asked = []

    def resolve(uri: str, *, tracking_uri: str) -> Path:
        asked.append((uri, tracking_uri))
        if "@champion" not in uri:
            raise LookupError(f"{uri} is not in the registry at {tracking_uri}")
        return bundle.folder

    monkeypatch.setattr("cluster.registry.resolve", resolve)
    assert open_bundle("models:/mska_slr@champion", tracking_uri="http://mlflow") == bundle
    assert asked == [("models:/mska_slr@champion", "http://mlflow")]
    with pytest.raises(BundleError, match="models:/mska_slr/7 is not in the registry"):
        open_bundle("models:/mska_slr/7", tracking_uri="http://mlflow")


def test_a_look_into_a_registry_that_is_not_there_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(BundleError, match=r"models:/x@champion: there is no registry at runs/mlflow.db: give --tracking-uri"):
        open_bundle("models:/x@champion")
    assert not list(tmp_path.iterdir())
