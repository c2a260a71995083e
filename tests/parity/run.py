"""Run parity cases: `python tests/parity/run.py CASE.json [CASE.json ...]`.

Prints each expected output's largest deviation (relative to its size plus its standard deviation, and as a share of the
tolerance), then one line for the case. Exit status: 0 every case passed; 1 a case missed its figures or its file is malformed;
3 nothing missed, but a kind isn't built yet.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:] = [str(ROOT), *(entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).resolve().parent)]

from models.errors import ParityError  # noqa: E402
from tests.parity.adapters import ADAPTERS  # noqa: E402
from tests.parity.case import Case, read_case  # noqa: E402
from tests.parity.comparison import Outcome, Report  # noqa: E402


class Status(IntEnum):
    """The runner's exit status."""

    PASSED = 0
    MISSED = 1
    NOT_BUILT = 3


def run_case(case: Case) -> Report:
    """Everything that `case` expects, compared. Raises ParityError for a malformed file; its kind must be in ADAPTERS."""
    report = Report(tolerances=case.get("tolerances", {}))
    importlib.import_module(ADAPTERS[case.kind]).run(case, report)
    return report


def run_file(path: Path, *, quiet: bool = False, with_traceback: bool = False) -> Status:
    """Run one file and print its lines."""
    kind = path.name
    try:
        case = read_case(path)
        kind = case.kind
        if kind not in ADAPTERS:
            print(f"{kind}: not built yet ({path.name})")
            return Status.NOT_BUILT
        report = run_case(case)
        worst = report.worst
    except Exception as error:  # whatever a malformed file leads to is one line, not the end of the run
        if with_traceback:
            traceback.print_exc()
        reason = str(error) if isinstance(error, ParityError) else f"{type(error).__name__}: {error} (--traceback shows where)"
        print(f"{kind}: MALFORMED {path.name}: {' '.join(reason.split())}")
        return Status.MISSED
    _print_outcomes(report, quiet=quiet)
    print(f"{kind}: {'passed' if report.passed else 'MISSED'}, worst {worst.share:.2g} of its tolerance at {worst.name}: {worst.detail} ({path.name})")
    return Status.PASSED if report.passed else Status.MISSED


def _print_outcomes(report: Report, *, quiet: bool) -> None:
    for outcome in report.outcomes:
        if not quiet or not outcome.passed:
            print(_line(outcome))


def _line(outcome: Outcome) -> str:
    if outcome.passed:
        return f"  {outcome.name}: {outcome.deviation:.2e} ({outcome.share:.2g} of tolerance)"
    return f"  {outcome.name}: MISSED {outcome.deviation:.2e} ({outcome.share:.2g} of tolerance): {outcome.detail}"


def main(arguments: Sequence[str] | None = None) -> Status:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", type=Path, metavar="CASE.json")
    parser.add_argument("--quiet", action="store_true", help="one line a case, and the outputs that missed")
    parser.add_argument("--traceback", action="store_true", help="where in our code a malformed file led to an error")
    options = parser.parse_args(arguments)
    statuses = [run_file(path, quiet=options.quiet, with_traceback=options.traceback) for path in options.cases]
    return next((status for status in (Status.MISSED, Status.NOT_BUILT) if status in statuses), Status.PASSED)


if __name__ == "__main__":
    sys.exit(main())
