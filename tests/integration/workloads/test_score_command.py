"""`evaluate.py score` as users call it: quick, without Ray or torch, one line for a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cluster.environment import REPOSITORY_ROOT

COMMAND = [sys.executable, "-X", "importtime", str(REPOSITORY_ROOT / "workloads" / "evaluate.py"), "score", "--corpus", "phoenix2014t"]


def test_two_files_are_scored_without_ray_or_torch(tmp_path: Path) -> None:
    (tmp_path / "hyp.ctm").write_text("clip1 1 0.00 0.01 REGEN\nclip1 1 0.01 0.02 loc-NORD\n")
    (tmp_path / "ref.stm").write_text("clip1 1 anna 0.0 1.79769e+308 REGEN NORD\n")
    scored = run(tmp_path, "--hyp", "hyp.ctm", "--ref", "ref.stm", "--format", "json")
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout)["wer"] == 0
    imported = {line.rpartition("|")[2].strip() for line in scored.stderr.splitlines() if line.startswith("import time:")}
    assert "workloads.score" in imported
    assert imported & {"ray", "torch", "mlflow", "matplotlib", "sacrebleu", "pyarrow"} == set()


def test_a_mistake_is_one_line_and_strict_has_its_status(tmp_path: Path) -> None:
    (tmp_path / "hyp.tsv").write_text("clip1\tREGEN\nclip1\tNORD\n")
    (tmp_path / "ref.tsv").write_text("clip1\tREGEN\n")
    for more, message in (
        (("--ref", "missing.tsv"), "error: missing.tsv: can't be read: No such file or directory"),
        (("--ref", "ref.tsv", "--strict"), "error: hyp.tsv:2: clip1 a second time, the first is line 1: only that one is scored"),
    ):
        failed = run(tmp_path, "--hyp", "hyp.tsv", *more)
        assert (failed.returncode, failed.stdout) == (2, "")
        assert [line for line in failed.stderr.splitlines() if not line.startswith("import time:")] == [message]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
