"""Bundles in an S3-compatible store: opened, predicted with, served and begun from by URI; half of one is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cluster.registry import RECORD
from cluster.storage import Place, publish_folder
from models.bundle import Bundle
from models.errors import BundleError, CheckpointError
from serve.settings import ServeSettings
from serve.tasks import Choice, Task
from serve.worker import ModelWorker
from tests.store import Store
from tests.unit.tiny import save_tiny_bundle, tiny_clip
from tests.unit.workloads.corpora_on_disk import write_npz
from workloads import predict
from workloads.bundles import open_bundle
from workloads.training.start_paths import start_path


@pytest.fixture
def published(store: Store, tmp_path: Path) -> tuple[Bundle, Place]:
    bundle, place = save_tiny_bundle(tmp_path / "bundle"), store.bucket / "runs" / "a" / "bundle"
    publish_folder(bundle.folder, place, last=RECORD)
    return bundle, place


def test_a_bundle_is_used_by_its_uri(published: tuple[Bundle, Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, place = published
    opened = open_bundle(str(place))
    assert opened.checksum == bundle.checksum
    assert next(opened.recogniser().recognise([tiny_clip()])) == next(bundle.recogniser().recognise([tiny_clip()]))
    clip = write_npz(tmp_path / "clip.npz", tiny_clip().keypoints)
    assert predict.main(["--bundle", str(place), "--format", "json", str(clip)]) == 0
    assert json.loads(capsys.readouterr().out)["bundle"]["weights"] == bundle.checksum
    worker = ModelWorker(ServeSettings(bundle=str(place), device="cpu"))
    (reply,) = worker.answer([Task(clip=tiny_clip(), choice=Choice())])
    assert reply.record is not None
    assert start_path(str(place)) == opened.folder, "a training begins with the same copy"
    assert start_path(f"{place}/weights.safetensors").read_bytes() == (bundle.folder / "weights.safetensors").read_bytes()


def test_half_a_bundle_is_none(published: tuple[Bundle, Place]) -> None:
    _, place = published
    weights = (place / "weights.safetensors").read_bytes()
    (place / "weights.safetensors").write_bytes(weights[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"weights.safetensors isn't what bundle.json says of it: the copy there is damaged; publish it again"):
        open_bundle(str(place))
    (place / RECORD).unlink()
    with pytest.raises(BundleError, match=r"no bundle.json there: give what a training published"):
        open_bundle(str(place))
    with pytest.raises(CheckpointError, match="there"):
        start_path(str(place))
    with pytest.raises(BundleError, match="no credentials and no options in a URI"):
        open_bundle("s3://a:b@bucket/x")
