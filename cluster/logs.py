"""Log lines of a run's workers: each says of which run, node and rank it is, so that a collector of all nodes' logs can tell them apart.

    2026-11-26 06:21:08 INFO run=night node=n1 rank=0 signray: checkpoint_00000120 written in 0.4 s

They go to the worker's standard error, which Ray keeps below its session folder on every node (`logs/worker-*.err`).
"""

import logging
import socket
import sys
from typing import TextIO

LOGGER = "signray"
_FORMAT = "%(asctime)s %(levelname)s run={run} node={node} rank={rank} %(name)s: %(message)s"


def log_as(*, run: str, rank: int) -> logging.Logger:
    """Give this process's log lines run, node and rank; libraries from WARNING on. The logger for lines of our own, from INFO on."""
    handler = _TaggedHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT.format(run=run, node=socket.gethostname(), rank=rank), datefmt="%Y-%m-%d %H:%M:%S"))
    root = logging.getLogger()
    for former in [each for each in root.handlers if isinstance(each, _TaggedHandler)]:
        root.removeHandler(former)  # of a run before, in the same process
    root.addHandler(handler)
    logger = logging.getLogger(LOGGER)
    logger.setLevel(logging.INFO)
    return logger


class _TaggedHandler(logging.StreamHandler[TextIO]):
    """Ours among the root's handlers."""
