"""What every entry point does around its `main`: a user's mistake ends in one line, a bug keeps its traceback.

An entry file can be run as a file (`python workloads/train.py`); then `workloads/` is the first place that Python looks for modules, where
our files shadow libraries of the same name. So it begins, before it imports anything of ours, with:

    if __package__ in (None, ""):
        sys.path[0] = str(Path(__file__).resolve().parents[1])
"""

from __future__ import annotations

from collections.abc import Callable

from cluster import entry
from models.errors import SignrayError


def run_entry_point(main: Callable[[], int | None], user_errors: tuple[type[Exception], ...] = (ConnectionError,)) -> None:
    """`cluster.entry.run_entry_point` for which every SignrayError is a user's mistake; `user_errors` is what `cluster` raises for one."""
    entry.run_entry_point(main, (SignrayError, *user_errors))
