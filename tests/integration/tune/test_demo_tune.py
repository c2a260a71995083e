"""`make demo-tune` at toy sizes: a real sweep under Ray Tune with early stopping, then three fusions; a second one re-uses what is there.

Takes half a minute: three trials start an actor each, four streams and a network of pictures are trained in this process.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.ensemble import load
from tests.integration.head_node import HeadNode
from tune import demo
from tune.trials import read_trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_demo_tune(ray_cluster: HeadNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main(["--toy", "--root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    runs = tmp_path / "runs"
    assert len(read_trials(runs / "demo_tune-toy-sweep")) == demo.TOY_TRIALS
    document = json.loads((runs / "demo_tune-toy-sweep" / "result.json").read_text(encoding="utf-8"))
    assert {trial["status"] for trial in document["trials"]} <= {"finished", "stopped early"}
    assert all((runs / "demo_tune-toy-sweep" / "trials" / trial["trial"]["name"] / "bundle").is_dir() for trial in document["trials"])
    summary = json.loads((runs / "demo_tune-toy" / "summary.json").read_text(encoding="utf-8"))
    assert list(summary["fusions"]) == ["two systems", "heads of one network", "four streams"]
    for figures in summary["fusions"].values():
        assert demo.no_worse(figures)
        load(Path(figures["bundle"]))
    assert summary["fusions"]["two systems"]["registry"] == ["signray-demo-fused@champion is version 1; there was none before"]
    assert "ended" in shown
    assert demo.main(["--toy", "--root", str(tmp_path)]) == 0
    again = capsys.readouterr().out
    assert "already done" in again
    assert "connected to Ray" not in again, "a sweep that has ended starts nothing"
