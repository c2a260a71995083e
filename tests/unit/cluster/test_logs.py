"""Log lines that say where they come from."""

import logging
import re
import socket
from collections.abc import Iterator

import pytest

from cluster.logs import LOGGER, log_as


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers = list(root.handlers)
    yield
    root.handlers[:] = handlers
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)


def test_lines_name_run_node_and_rank(capsys: pytest.CaptureFixture[str]) -> None:
    log_as(run="evening", rank=7)
    log_as(run="night", rank=1).info("checkpoint written")
    logging.getLogger("some.library").warning("hm")
    logging.getLogger("some.library").info("not told")
    lines = capsys.readouterr().err.splitlines()
    tags = f"run=night node={re.escape(socket.gethostname())} rank=1"
    assert [
        bool(re.fullmatch(rf"[\d-]+ [\d:]+ {level} {tags} {text}", line))
        for line, level, text in zip(lines, ("INFO", "WARNING"), ("signray: checkpoint written", "some.library: hm"), strict=True)
    ] == [True, True]
