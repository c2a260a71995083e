"""The README's first command, after its environment exists: what it learns on unseen sentences, how long it takes, what it holds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from cluster.environment import REPOSITORY_ROOT
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench


def measure(bench: Bench) -> list[Figure]:
    """Test WER of the ensemble, wall clock, peak memory of the process tree (summed PSS)."""
    command = [sys.executable, "workloads/demo.py", "--root", str(bench.folder), *(["--toy"] if bench.quick else [])]
    subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, stdout=sys.stderr)
    name = "demo-toy" if bench.quick else "demo"
    return list(figures_of(json.loads((bench.folder / "runs" / name / "summary.json").read_text(encoding="utf-8"))))


def figures_of(summary: dict) -> Iterator[Figure]:
    """As `summary.json` of the run has them."""
    scores = ", ".join(f"{head} {value:.1f}" for head, value in summary["test_wer_by_head"].items())
    clips = f"{summary['glosses']} glosses, unseen sentences, beam {summary['beam_width']}: {scores}"
    yield Figure(name="make demo: test WER of the ensemble", rounds=(summary["test_wer"],), unit="%", note=clips, at_most=25.0)
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary["seconds"].items())
    yield Figure(name="make demo: all stages", rounds=(sum(summary["seconds"].values()),), unit="s", note=stages, at_most=600.0)
    yield Figure(name="make demo: peak memory", rounds=(summary["peak_memory_gb"],), unit="GB", note="summed PSS of the process tree", at_most=5.0)
