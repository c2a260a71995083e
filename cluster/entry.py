"""How an entry point ends: a user's mistake in one line, ^C quietly, a bug with its traceback."""

import os
import sys
from collections.abc import Callable

from cluster.environment import set_defaults

USER_ERROR = 2
INTERRUPTED = 130


def run_entry_point(main: Callable[[], int | None], user_errors: tuple[type[Exception], ...]) -> None:
    """Run `main` and exit with what it returns (None: 0).

    One of `user_errors` prints `error: <its line>` and exits with 2; ^C exits with 130; a reader that closes our output early (`| head`)
    ends it quietly. Everything else is a bug and keeps its traceback.
    """
    set_defaults()
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit would complain again
        code = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = INTERRUPTED
    except user_errors as error:
        print(f"error: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        code = USER_ERROR
    sys.exit(code or 0)
