"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("torch", "ray", "deepspeed", "pyarrow", "numpy", "numba")
BUSY = 0.25  # share of the cores from which on figures are doubtful
LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """load: mean number of running processes in the minute before the start. busy_cores: those that worked in the second before it, None in old records.

    The load remembers the benchmark before, the busy cores don't.
    """

    cpu: str
    cores: int
    memory_gb: float
    load: float
    versions: dict[str, str]
    busy_cores: float | None = None

    @property
    def loaded(self) -> bool:
        return (self.load if self.busy_cores is None else self.busy_cores) > BUSY * self.cores


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=psutil.virtual_memory().total / 1e9,
        load=os.getloadavg()[0],
        busy_cores=psutil.cpu_percent(LOOK_S) / 100 * (os.cpu_count() or 1),
        versions={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    )


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    if not names:
        return platform.machine()
    # Virtual machines tell no model, and with these instructions a core does half as much again.
    return f"{names[0]} {'with' if any('avx512f' in line for line in lines) else 'without'} AVX-512"
