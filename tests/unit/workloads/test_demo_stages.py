"""What a demo prints at its end, and what it knows of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.spool import SendState, Spool
from cluster.tracking import SPOOL_FOLDER
from workloads import demo, demo_isolated
from workloads.demo_stages import Summary, _registered
from workloads.recipe import load_recipe


def summary(folder: Path, **values: Any) -> Summary:
    common = {"run": str(folder), "shards": "data/demo", "glosses": 4, "seconds": {"training": 2.0}, "peak_memory_gb": 1.0, "toy": True}
    return Summary(folder / "summary.json", {**common, **values})


def sentences(folder: Path, **values: Any) -> Summary:
    scores = {"ensemble": 50.0}
    known = {"clips": [], "beam_width": 5, "dev_wer": scores, "test_wer": 50.0, "test_wer_by_head": scores, "signer_independent_wer_by_head": scores}
    return summary(folder, **known, **values)


def signs(folder: Path, **values: Any) -> Summary:
    accuracy = {"ensemble": {"top1_per_instance": 50.0}}
    known = {"dev_top1": {"ensemble": 50.0}, "test_top1": 50.0, "test_accuracy": accuracy, "signer_independent_accuracy": accuracy}
    return summary(folder, **known, **values)


@pytest.mark.parametrize(("module", "figures"), [(demo, sentences), (demo_isolated, signs)])
def test_the_end_names_the_version_or_the_command_that_sends_it(module: Any, figures: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module.print_end(figures(tmp_path, registered="models:/signray-demo/3"))
    assert "  registry models:/signray-demo/3 (alias champion)\n" in capsys.readouterr().out
    for waiting in ({"registered": None}, {}):  # the server is away; an older summary
        module.print_end(figures(tmp_path, **waiting))
        told = capsys.readouterr().out
        assert f"  registry not registered yet; send it: .venv/bin/python -m cluster.tracking send {tmp_path}\n" in told
        assert "None" not in told


def test_the_version_is_found_again_whatever_start_sent_it(tmp_path: Path) -> None:
    recipe = load_recipe("demo")
    assert _registered(recipe, tmp_path) is None
    spool = Spool(tmp_path / SPOOL_FOLDER)
    spool.append("register", {})
    assert _registered(recipe, tmp_path) is None
    spool.save_state(SendState(versions={"20": 1, "100": 2}))
    assert _registered(recipe, tmp_path) == "models:/signray-demo/2"
