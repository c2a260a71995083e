"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("torch", "ray", "deepspeed", "pyarrow", "numpy", "numba")
BUSY = 0.25  # load per core from which on figures are doubtful


@dataclass(frozen=True, kw_only=True)
class Machine:
    """load: mean number of running processes in the minute before the start."""

    cpu: str
    cores: int
    memory_gb: float
    load: float
    versions: dict[str, str]

    @property
    def loaded(self) -> bool:
        return self.load > BUSY * self.cores


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=psutil.virtual_memory().total / 1e9,
        load=os.getloadavg()[0],
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
