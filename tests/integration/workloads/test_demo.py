"""`make demo` at toy sizes, on two Ray Train workers; a second one re-uses what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.bundle import load_bundle
from tests.integration.head_node import HeadNode
from workloads import demo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_demo(ray_cluster: HeadNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--toy", "--root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    summary = json.loads((tmp_path / "runs" / "demo-toy" / "summary.json").read_text(encoding="utf-8"))
    heads = {"ensemble", "left", "right", "fuse", "body"}
    assert heads == summary["dev_wer"].keys() == summary["test_wer_by_head"].keys() == summary["signer_independent_wer_by_head"].keys()
    assert summary["test_wer"] == summary["test_wer_by_head"]["ensemble"]
    assert {"shards", "training", "evaluation"} <= summary["seconds"].keys()
    assert 0.1 < summary["peak_memory_gb"] < 10
    *_, title = [line for line in shown.splitlines() if "WER in %" in line]
    assert shown.rstrip().splitlines()[-1].startswith("└"), "the table comes last"
    assert "10 glosses" in title
    load_bundle(tmp_path / "runs" / "demo-toy" / "bundle")
    assert "make serve" in shown
    assert "registry models:/" in shown
    assert demo.main(["--toy", "--root", str(tmp_path)]) == 0
    assert "already done" in capsys.readouterr().out
