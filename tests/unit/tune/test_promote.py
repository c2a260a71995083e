"""A fused ensemble becomes a version of a model, and champion; what it replaces is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.registry import alias_holder
from cluster.sender import embedded_uri
from models.bundle import Bundle
from models.ensemble import Ensemble
from models.errors import BundleError
from tune import fusion
from tune.promote import promote
from workloads.bundles import open_bundle
from workloads.shards import ShardSet


def test_registered_and_promoted(
    sign_members: dict[str, Bundle], sign_shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Takes seconds: MLflow creates its tables."""
    monkeypatch.chdir(tmp_path)
    members = [part for bundle in sign_members.values() for part in ("--member", str(bundle.folder))]
    for out, fuse in (("one", "logits"), ("two", "probs")):
        fusion.main(["--shards", str(sign_shards.path), *members, "--out", f"runs/{out}", "--fuse", fuse, "--trials", "50", "--register", "signs"])
    assert "registered as models:/signs/2; next: python tune/fusion.py promote models:/signs/2" in capsys.readouterr().out
    registry = embedded_uri(Path("runs"))
    assert alias_holder("signs", "champion", tracking_uri=registry) is None
    fusion.main(["promote", "models:/signs/1"])
    assert capsys.readouterr().out == "signs@champion is version 1; there was none before\n"
    first, *scores = promote("models:/signs/2")
    assert first == "signs@champion is version 2; it replaces version 1"
    assert [line.split(":")[0] for line in scores] == ["dev_top1", "test_top1"]
    assert all("before" in line and "now (" in line for line in scores)
    assert promote("models:/signs/2") == ["signs@champion is version 2, as before"]
    champion = open_bundle("models:/signs@champion")
    assert isinstance(champion, Ensemble)
    assert champion.fuse == "probs"
    with pytest.raises(BundleError, match="models:/signs/9 is not in the registry"):
        promote("models:/signs/9")


@pytest.mark.parametrize("uri", ["signs", "models:/signs", "models:/signs@champion", "models:/signs/x"])
def test_it_takes_a_version(uri: str) -> None:
    with pytest.raises(BundleError, match="promote takes models:/NAME/VERSION"):
        promote(uri)
