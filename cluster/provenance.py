"""Where a run comes from: code, packages, machine, command. Written down with every run, so that it can be done again."""

import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from importlib.metadata import Distribution, distributions
from itertools import takewhile
from pathlib import Path

import psutil

from cluster.environment import REPOSITORY_ROOT

COMMIT_VARIABLE = "SIGNRAY_GIT_COMMIT"


def provenance(root: Path = REPOSITORY_ROOT) -> dict[str, str | int | float | bool | None]:
    """Facts about this process by dotted name: `git.*`, `package.*`, `machine.*`, `python.*`, `command`.

    The commit is None where git or the repository is absent and SIGNRAY_GIT_COMMIT isn't set: a `ray job` ships no `.git`, so its
    submitter sets the variable.
    """
    return {
        **_git(root),
        **_packages(),
        **_machine(),
        "python.version": platform.python_version(),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
    }


def _git(root: Path) -> dict[str, str | bool | None]:
    commit = _git_output(root, "rev-parse", "HEAD")
    if commit is None:
        return {"git.commit": os.environ.get(COMMIT_VARIABLE), "git.branch": None, "git.dirty": None}
    changes = _git_output(root, "status", "--porcelain", "--untracked-files=no")
    return {"git.commit": commit, "git.branch": _git_output(root, "rev-parse", "--abbrev-ref", "HEAD"), "git.dirty": None if changes is None else bool(changes)}


def _git_output(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@cache
def _packages() -> dict[str, str]:
    names = dict(_name_and_version(package) for package in distributions())
    return {f"package.{name}": names[name] for name in sorted(names, key=str.lower)}


def _name_and_version(package: Distribution) -> tuple[str, str]:
    """The library's own properties parse all of the file, its descriptions, too: a second for some hundred packages."""
    lines = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").splitlines()
    fields = dict(line.split(": ", 1) for line in takewhile(bool, lines) if line.startswith(("Name: ", "Version: ")))
    return fields.get("Name", ""), fields.get("Version", "")


def _machine() -> dict[str, str | int | float | None]:
    facts: dict[str, str | int | float | None] = {
        "machine.system": platform.platform(),
        "machine.cpu": _cpu_name(),
        "machine.cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine.memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }
    if "torch" in sys.modules:  # asked only of a process that has paid for its import
        import torch

        facts["machine.gpus"] = torch.cuda.device_count()
        if torch.cuda.is_available():
            facts["machine.gpu"] = torch.cuda.get_device_name(0)
    return facts


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine())
