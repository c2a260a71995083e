"""What `make` makes and removes, in a folder of its own, with a Python that does nothing in the place of the environment's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.environment import REPOSITORY_ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY_ROOT / "Makefile", tmp_path)
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    return tmp_path


def make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}  # of the `make test` that runs this
    return subprocess.run(["make", target, f"PYTHON={sys.executable}"], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def python(folder: Path, script: str) -> Path:
    """The environment's Python, as a script."""
    path = folder / ".venv" / "bin" / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_the_environment_says_how_long_it_took(checkout: Path) -> None:
    python(checkout, "exit 0")
    made = make(checkout, ".venv/ready")
    assert made.returncode == 0, made.stderr
    assert re.fullmatch(r"creating the environment in \.venv .*\nthe environment is ready after \d+ s\n", made.stdout)
    assert "creating" not in make(checkout, ".venv/ready").stdout


def test_an_environment_that_fails_is_not_ready(checkout: Path) -> None:
    python(checkout, "exit 1")
    made = make(checkout, ".venv/ready")
    assert (made.returncode, "ready after" in made.stdout) == (2, False)
    assert not (checkout / ".venv" / "ready").exists()


def test_clean_removes_what_demos_write_and_keeps_other_runs(checkout: Path) -> None:
    demos = [
        "runs/demo",
        "runs/demo-toy",
        "runs/demo_isolated",
        "runs/demo_slt",
        "runs/demo_tune-sweep",
        "data/demo",
        "data/demo_slt_language",
        "data/demo_rgb",
    ]
    others = ["runs/mine", "runs/artifacts", "data/mine", "data/demonstrators"]
    for name in (*demos, *others, ".venv"):
        (checkout / name).mkdir(parents=True)
    (checkout / "runs" / "mlflow.db").touch()
    make(checkout, "clean")
    assert [name for name in (*demos, ".venv") if (checkout / name).exists()] == []
    assert all((checkout / name).exists() for name in (*others, "runs/mlflow.db"))
