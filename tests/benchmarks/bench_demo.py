"""The README's first command, after its environment exists: what it learns on unseen sentences, what it takes, and what `--dry-run` expected of that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

from cluster.environment import REPOSITORY_ROOT
from tests.benchmarks.figure import Figure
from tests.benchmarks.stack import Bench
from workloads.demo import EXPECTED_WER

OURS = ("OMP_NUM_THREADS", "RAY_ADDRESS", "MLFLOW_TRACKING_URI")  # of the benchmarks' environment, not of a user's


def measure(bench: Bench) -> list[Figure]:
    """Test WER of the ensemble, seconds of all stages, peak memory of the process tree (summed PSS); the dry run's seconds. Nothing of it is quick."""
    if bench.quick:
        return []
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "workloads/demo.py", "--root", str(bench.folder)]
    subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, stdout=sys.stderr, env=environment)
    run = bench.folder / "runs" / "demo"
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    command = [sys.executable, "workloads/train.py", "--recipe", str(run / "recipe.yaml"), "--dry-run"]
    told = subprocess.run(command, cwd=REPOSITORY_ROOT, check=True, capture_output=True, text=True, env=environment).stdout
    return [*figures_of(summary), foreseen(told, summary["seconds"]["training"])]


def figures_of(summary: dict) -> Iterator[Figure]:
    """As `summary.json` of the run has them."""
    scores = ", ".join(f"{head} {value:.1f}" for head, value in summary["test_wer_by_head"].items())
    clips = f"{summary['glosses']} glosses, unseen sentences, beam {summary['beam_width']}: {scores}"
    yield Figure(name="make demo: test WER of the ensemble", rounds=(summary["test_wer"],), unit="%", note=clips, at_most=EXPECTED_WER)
    stages = ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in summary["seconds"].items())
    yield Figure(name="make demo: all stages", rounds=(sum(summary["seconds"].values()),), unit="s", note=stages, at_most=600.0)
    yield Figure(name="make demo: peak memory", rounds=(summary["peak_memory_gb"],), unit="GB", note="summed PSS of the process tree", at_most=5.0)


def foreseen(told: str, seconds: float) -> Figure:
    """What `--dry-run` told of the training's time, over what it took."""
    found = re.search(r"(\d+):(\d+):(\d+) expected", told)
    assert found, told
    hours, minutes, rest = map(int, found.groups())
    expected = 3600 * hours + 60 * minutes + rest
    return Figure(name="seconds of the demo's training: --dry-run / as it went", rounds=(expected / seconds,), note=f"{expected:.0f} over {seconds:.0f} s")
