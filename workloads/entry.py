"""What every entry point does around its `main`: a user's mistake ends in one line, a bug keeps its traceback.

An entry file can be run as a file (`python workloads/train.py`); then `workloads/` is the first place that Python looks for modules, where
our files shadow libraries of the same name. So it begins, before it imports anything of ours, with:

    if __package__ in (None, ""):
        sys.path[0] = str(Path(__file__).resolve().parents[1])
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from cluster.environment import set_defaults
from models.errors import SignrayError

USER_ERROR = 2
INTERRUPTED = 130


def run_entry_point(main: Callable[[], int | None], user_errors: tuple[type[Exception], ...] = (ConnectionError,)) -> None:
    """Run `main` and exit with what it returns (None: 0).

    A SignrayError, or one of `user_errors` (what `cluster` raises for a user's mistake), prints `error: <its line>` and exits with 2;
    ^C exits with 130; a reader that closes our output early (`| head`) ends it quietly. Everything else is a bug and keeps its traceback.
    """
    set_defaults()
    one_line: tuple[type[Exception], ...] = (SignrayError, *user_errors)
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would complain again
        code = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except one_line as error:
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        code = USER_ERROR
    sys.exit(code or 0)
