"""A measurement in a process of its own, with the environment that a training's workers have: glibc's settings act only on processes that start with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cluster.environment import worker_environment


def apart(module: str, *words: str, threads: int = 1) -> str:
    """What `python -m module words` prints."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, **worker_environment(threads=threads)}
    return subprocess.run([sys.executable, "-m", module, *words], cwd=root, env=environment, check=True, capture_output=True, text=True).stdout
