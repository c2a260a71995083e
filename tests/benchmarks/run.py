"""Measure speed and memory: `python tests/benchmarks/run.py`, or `make bench`. Writes tests/benchmarks/RESULTS.md.

python tests/benchmarks/run.py --only stack     one benchmark: its figures alone are written anew (`--dry` prints them only)
python tests/benchmarks/run.py --quick          a tiny network without Ray, to see that the code runs; the figures mean nothing
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __package__ in (None, ""):
    sys.path[0] = str(HERE.parents[1])
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; the workers get it by the recipe

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from cluster.deepspeed_engine import single_process_group  # noqa: E402
from cluster.environment import set_defaults  # noqa: E402
from tests.benchmarks.chart import draw  # noqa: E402
from tests.benchmarks.figure import Figure  # noqa: E402
from tests.benchmarks.machine import this_machine  # noqa: E402
from tests.benchmarks.report import CHART, number, page  # noqa: E402
from tests.benchmarks.results import Measured, read_results, write_results  # noqa: E402
from tests.benchmarks.stack import Bench  # noqa: E402

RECORDS = "results.json"
BENCHES = (
    "demo",
    "stack",
    "data",
    "memory",
    "mska",
    "frames_networks",
    "dsta",
    "vac",
    "decoding",
    "translation",
    "metrics",
    "fusion",
    "video",
    "streaming",
    "serve",
    "serve_switches",
    "sweep",
    "cluster",
    "failures",
    "files",
)


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    set_defaults()
    keep = not (options.quick or options.dry)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench") as folder, single_process_group() if options.quick else nullcontext():
        bench = Bench(folder=Path(folder), quick=options.quick)
        for name in options.only or BENCHES:
            measured = measure(name, bench)
            figures += measured.figures
            if keep:  # at once: a benchmark that fails doesn't take the others' figures along
                write(name, measured)
    # Wide where nobody looks: a log or a pipe keeps each row on its line.
    Console(width=None if sys.stdout.isatty() else 240).print(table(figures))
    if keep:
        print(f"wrote {HERE / 'RESULTS.md'}")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=BENCHES, help="this benchmark; can be given several times")
    parser.add_argument("--dry", action="store_true", help="print the figures and write nothing")
    parser.add_argument("--quick", action="store_true", help="see in seconds that the benchmarks run")
    return parser


def measure(name: str, bench: Bench) -> Measured:
    """The figures of `bench_<name>`, with the machine as it was before."""
    machine, began = this_machine(), time.perf_counter()
    busy = f" (warning: {machine.busy_cores or 0:.1f} of {machine.cores} cores are busy: other work disturbs the figures)" if machine.loaded else ""
    print(f"{name} ...{busy}", file=sys.stderr, flush=True)
    figures = tuple(import_module(f"tests.benchmarks.bench_{name}").measure(bench))
    return Measured(date=time.strftime("%Y-%m-%d"), seconds=time.perf_counter() - began, machine=machine, figures=figures)


def write(name: str, measured: Measured) -> None:
    """In place of what this benchmark had, in the order of BENCHES."""
    results = {**read_results(HERE / RECORDS), name: measured}
    ordered = {name: results[name] for name in BENCHES if name in results}
    write_results(HERE / RECORDS, ordered)
    (HERE / "RESULTS.md").write_text(page(ordered), encoding="utf-8")
    draw(HERE / CHART, ordered)


def table(figures: Iterable[Figure]) -> Table:
    """The figures for a terminal."""
    result = Table("figure", "median", "spread", "rounds", "target", "of it")
    for figure in figures:
        low, high = (number(value) for value in figure.spread)
        target = figure.target and f"{figure.target} {'met' if figure.met else 'MISSED'}"
        result.add_row(figure.name, f"{number(figure.median)} {figure.unit}", f"{low}–{high}", str(len(figure.rounds)), target, figure.note)
    return result


if __name__ == "__main__":
    sys.exit(main())
